package protocol

import "testing"

// What the scanner follows is JSON as far as words and brackets go; a whole answer that is not is no answer.
func TestScannerRefusesWhatIsNoJSON(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		`{"choices":[{"text":"x"}],"a":-1.5e3,"b":[true,false,null,{}]}`: true,
		`{"choices":[{"text":"x"}],"a":nonsense}`:                        false,
		`{"choices":[{"text":"x"}],"a":truely}`:                          false,
		`{"choices":[{"text":"x"}]`:                                      false,
		`{"choices":[{"text":"x"}]} trailing`:                            false,
		`{"choices":[{"text":"x"}]}{}`:                                   false,
		`{"choices"}`:                                                    false,
		`{"a":]}`:                                                        false,
		`[]`:                                                             false,
		``:                                                               false,
	} {
		var e event
		if got := readOpenAI([]byte(text), &e); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}
