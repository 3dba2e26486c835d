package store_test

func beChild() bool { return false }
