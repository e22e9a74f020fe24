package config

import "sliod/export"

// The keys of rules for recalls, which [recall] and [export.NAME] have.

const (
	recallMeaning = "Whether reading, or writing a part of, a file on tape may bring it back. `allow`: yes. `deny`: it is an error at once, and nothing is queued. `limit`: up to the limit of files and bytes, " +
		"each user for himself. What is in the cache, or on its way, is never refused; `sliod recall` and setting `user.sliod.recall` bring files on purpose. A refusal is in the log, once for each user and interval."
	recallFiles = "With `limit`: how many files a user may have brought in an interval. 0: any number."
	recallBytes = "With `limit`: how many bytes, read-ahead among them. 0: any number."
	recallPer   = "The length of an interval. It begins with the first recall after the one before is over."
	recallUsers = "Users for whom another word holds: `NAME=allow`, `NAME=deny`, `NAME=limit`, by name or number, as the server knows them."
	recallError = "The error that a refused request gets. `EAGAIN` goes to the program, which may take it for \"later\"."
)

// recallKey makes a key of [recall].
func recallKey(field, def, unit, meaning string, v func(*export.Recall) value) Key {
	return Key{Section: "recall", Field: field, Default: def, Unit: unit, Meaning: meaning, value: func(c *Config) value { return v(&c.Recall.Clients) }}
}

// exportRecallKey makes the same key of [export.NAME], as recall_FIELD.
func exportRecallKey(field, def, unit, meaning string, v func(*export.Recall) value) Key {
	return exportKey(field, def, unit, meaning, func(e *export.Export) value { return v(&e.Recall) })
}

func recallMode(r *export.Recall) value {
	return &choice{(*string)(&r.Mode), []string{string(export.RecallAllow), string(export.RecallDeny), string(export.RecallLimit)}}
}

func recallExceptions(r *export.Recall) value {
	return &texts{&r.Users, checkRecallUser, "a list such as [\"alice=allow\", \"1001=deny\"]"}
}

func checkRecallUser(s string) error {
	_, _, err := export.ParseRecallUser(s)
	return err
}
