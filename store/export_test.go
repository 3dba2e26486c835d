package store

// Writes counts the writes of the store's file so far; each commit syncs twice, after its pages and after its meta page.
func Writes(s *Store) int64 {
	stats := s.db.Stats()
	return stats.TxStats.GetWrite()
}
