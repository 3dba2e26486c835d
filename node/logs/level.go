package logs

import (
	"bytes"
	"fmt"
	"strings"
)

// Level is how grave a line says it is. Most lines of most programs say it somewhere near their beginning.
type Level uint8

// Levels, from what says nothing to what is worst.
const (
	LevelNone Level = iota
	LevelDebug
	LevelInfo
	LevelWarning
	LevelError
	LevelFatal
	levels // how many there are
)

var levelNames = [levels]string{"", "debug", "info", "warning", "error", "fatal"}

// String is the level's word in files and on the command line; empty for LevelNone.
func (l Level) String() string { return levelNames[l] }

// ParseLevel reads a level that a person typed.
func ParseLevel(text string) (Level, error) {
	if l := levelOfWord([]byte(text)); l != LevelNone {
		return l, nil
	}
	return LevelNone, fmt.Errorf("level %q is not known: use one of %s", text, strings.Join(levelNames[1:], ", "))
}

const (
	// levelBytes is how much of a line is looked at, levelWords how many of its words.
	levelBytes = 160
	levelWords = 14
	// loneWords is among how many words one that is not all in capitals may be a level, as in `srun: error: ...`.
	loneWords = 4
)

// LevelOf finds the level that a line gives itself: JSON and logfmt keys, klog's letters, Ray's and PyTorch's letters in brackets,
// and the words that Python, vLLM, Ollama, NCCL, apptainer and Slurm write.
func LevelOf(line []byte) Level {
	line = line[:min(len(line), levelBytes)]
	if len(line) > 0 && line[0] == '{' {
		return levelOfJSON(line)
	}
	if l := levelOfKlog(line); l != LevelNone {
		return l
	}
	if l := levelOfKey(line); l != LevelNone {
		return l
	}
	return levelOfWords(line)
}

// levelOfJSON looks for the usual keys, without decoding: what lies beyond levelBytes is not looked for.
func levelOfJSON(line []byte) Level {
	for _, key := range [][]byte{[]byte(`"level"`), []byte(`"severity"`), []byte(`"levelname"`), []byte(`"lvl"`)} {
		at := bytes.Index(line, key)
		if at < 0 {
			continue
		}
		rest := bytes.TrimLeft(line[at+len(key):], ": ")
		if len(rest) > 0 && rest[0] == '"' {
			word, _, _ := bytes.Cut(rest[1:], []byte(`"`))
			return levelOfWord(word)
		}
		return levelOfNumber(rest)
	}
	return LevelNone
}

// levelOfNumber reads the numbers that Python and bunyan count levels with: 10 is debug there, 40 is error in Python.
func levelOfNumber(text []byte) Level {
	if len(text) < 2 || text[1] != '0' || len(text) > 2 && text[2] >= '0' && text[2] <= '9' {
		return LevelNone
	}
	if n := text[0]; n >= '1' && n <= '5' {
		return Level(n - '0')
	}
	return LevelNone
}

// levelOfKlog reads `E0102 15:04:05.678901`, as klog, glog and Triton begin their lines.
func levelOfKlog(line []byte) Level {
	if len(line) < 11 || line[5] != ' ' || line[8] != ':' || !digits(line[1:5]) || !digits(line[6:8]) {
		return LevelNone
	}
	return levelOfLetter(line[0])
}

func digits(text []byte) bool {
	for _, c := range text {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

func levelOfLetter(c byte) Level {
	switch c {
	case 'D':
		return LevelDebug
	case 'I':
		return LevelInfo
	case 'W':
		return LevelWarning
	case 'E':
		return LevelError
	case 'F', 'C':
		return LevelFatal
	}
	return LevelNone
}

// levelOfKey reads `level=INFO`, as slog and Ollama write it.
func levelOfKey(line []byte) Level {
	at := bytes.Index(line, []byte("level="))
	if at < 0 || at > 0 && line[at-1] != ' ' {
		return LevelNone
	}
	rest := bytes.TrimLeft(line[at+len("level="):], `"`)
	end := bytes.IndexAny(rest, ` "+-`) // slog writes what lies between its levels as INFO+2
	if end < 0 {
		end = len(rest)
	}
	return levelOfWord(rest[:end])
}

// levelOfWords looks at a line's first words: one in capitals, one in other letters that a colon follows, a letter in brackets.
func levelOfWords(line []byte) Level {
	for n := 0; n < levelWords && len(line) > 0; n++ {
		start := 0
		for start < len(line) && delimiter(line[start]) {
			start++
		}
		end := start
		for end < len(line) && !delimiter(line[end]) {
			end++
		}
		word, opened := line[start:end], start > 0 && line[start-1] == '['
		rest := line[end:]
		bare, _, colon := bytes.Cut(word, []byte(":")) // `ERROR:asyncio:...`
		if lettered := opened || letterOfRay(bare, rest); len(bare) > 0 && bare[0] >= 'A' && bare[0] <= 'Z' && (len(bare) > 2 || lettered) {
			if l := levelInCapitals(bare, lettered); l != LevelNone {
				return l
			}
		}
		if colon && n < loneWords {
			if l := levelOfWord(bare); l != LevelNone {
				return l
			}
		}
		line = rest
	}
	return LevelNone
}

// letterOfRay knows `[2026-01-02 15:04:05,678 W 149 199]` by the numbers behind the letter.
func letterOfRay(word, rest []byte) bool {
	return len(word) == 1 && len(rest) > 1 && rest[0] == ' ' && digits(rest[1:2])
}

func levelInCapitals(word []byte, lettered bool) Level {
	for _, c := range word[1:] {
		if c >= 'a' && c <= 'z' {
			return LevelNone
		}
	}
	// `[E`, and PyTorch's `[W914`, which has the date.
	if lettered && digits(word[1:]) {
		return levelOfLetter(word[0])
	}
	if len(word) < 3 {
		return LevelNone
	}
	// Rust's colours are left behind as in `INFO[0m` where the escape was taken out; `[` ends the word there.
	return levelOfWord(word)
}

func delimiter(c byte) bool {
	return c == ' ' || c == '[' || c == ']' || c == '(' || c == ')' || c == '|' || c == '\t'
}

// levelOfWord reads a level's name in either case.
func levelOfWord(word []byte) Level {
	var lower [8]byte
	if len(word) < 3 || len(word) > len(lower) {
		return LevelNone
	}
	for i, c := range word {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	switch string(lower[:len(word)]) {
	case "trace", "debug":
		return LevelDebug
	case "info", "notice":
		return LevelInfo
	case "warn", "warning":
		return LevelWarning
	case "err", "error":
		return LevelError
	case "fatal", "critical", "panic":
		return LevelFatal
	}
	return LevelNone
}
