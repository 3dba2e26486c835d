package simulate

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
)

// chatMessage is one message; its content is a string, an array of parts, or null where an assistant called tools.
type chatMessage struct {
	Role    string          `json:"role"`
	Content json.RawMessage `json:"content"`
}

// chatText joins the texts of all messages, one to a line; the error is an *apiError.
func chatText(raw json.RawMessage) (string, error) {
	var messages []chatMessage
	if len(raw) == 0 || json.Unmarshal(raw, &messages) != nil || len(messages) == 0 {
		return "", refuse(http.StatusBadRequest, "messages", "messages must be a non-empty array of objects with role and content")
	}
	var b strings.Builder
	for i, m := range messages {
		if m.Role == "" {
			return "", refuse(http.StatusBadRequest, "messages", "message %d has no role; give system, user, assistant or tool", i)
		}
		if !appendContent(&b, m.Content) {
			return "", refuse(http.StatusBadRequest, "messages", "the content of message %d must be a string or an array of parts", i)
		}
		b.WriteByte('\n')
	}
	return b.String(), nil
}

// appendContent writes the text of one message's content; parts that are not text, such as images, count as nothing.
func appendContent(b *strings.Builder, raw json.RawMessage) bool {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || string(raw) == "null" {
		return true
	}
	if raw[0] == '"' {
		var text string
		if json.Unmarshal(raw, &text) != nil {
			return false
		}
		b.WriteString(text)
		return true
	}
	var parts []struct {
		Text string `json:"text"`
	}
	if json.Unmarshal(raw, &parts) != nil {
		return false
	}
	for _, p := range parts {
		b.WriteString(p.Text)
		b.WriteByte(' ')
	}
	return true
}
