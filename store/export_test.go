package store

import bolt "go.etcd.io/bbolt"

// Writes counts the writes of the store's file so far; each commit syncs twice, after its pages and after its meta page.
func Writes(s *Store) int64 {
	stats := s.db.Stats()
	return stats.TxStats.GetWrite()
}

// DropIndex leaves the file as a benchd without an index of live objects did.
func DropIndex(s *Store) error {
	return s.db.Update(func(tx *bolt.Tx) error { return tx.DeleteBucket(bucketLive) })
}
