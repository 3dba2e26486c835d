package store

import (
	"maps"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Stats say what a store holds and has done since it was opened.
type Stats struct {
	// Size of the file in bytes; Free is the part of it that holds nothing and is used again.
	Size, Free int64
	// Objects by kind.
	Objects map[string]int
	// Commits are write transactions that became durable, Reads those that only read, so far.
	Commits, Reads int64
	// Writing is the time that commits took to write and sync, altogether.
	Writing time.Duration
}

// Stats looks at the store. It costs the same however many objects there are.
func (s *Store) Stats() Stats {
	db := s.db.Stats()
	st := Stats{
		Free: int64(db.FreeAlloc), Reads: int64(db.TxN), Writing: db.TxStats.GetWriteTime(), Commits: s.commits.Load(), Objects: map[string]int{},
	}
	// A store that is closed has no size; whoever asks then is about to end too.
	_ = s.db.View(func(tx *bolt.Tx) error { st.Size = tx.Size(); return nil })
	s.mu.RLock()
	defer s.mu.RUnlock()
	maps.Copy(st.Objects, s.counts)
	return st
}
