// Package store keeps benchd's objects in one bbolt file.
//
// bbolt is the truth, and its mapped pages are the cache: memory holds only a small row per object (labels, owners,
// version) and the last events for watchers. Every write is one transaction that is durable when it returns; a failed
// one is never visible. Objects go in and out as copies.
//
// Layout of the file:
//
//	meta/    format, homeID, resourceVersion
//	objects/ one bucket per kind: "namespace/name" → the object as JSON
//
// Errors are apimachinery's (NotFound, AlreadyExists, Conflict, Expired, Invalid), so that they can go over HTTP as they are.
package store

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// format is the version of the layout above. A store with a higher one is left alone.
const format = 1

var (
	bucketMeta    = []byte("meta")
	bucketObjects = []byte("objects")
	bucketLive    = []byte("live")
	keyFormat     = []byte("format")
	keyHome       = []byte("homeID")
	keyVersion    = []byte("resourceVersion")
)

// Errors of opening a store.
var (
	// ErrNewer says that a newer benchd wrote the file.
	ErrNewer = errors.New("the store was written by a newer benchd")
	// ErrForeign says that the file is no store of benchd's.
	ErrForeign = errors.New("the file is not a benchd store")
	// ErrDamaged says that the file is a store, but cannot be read as a whole.
	ErrDamaged = errors.New("the store is damaged")
	// ErrLocked says that another process has the file open.
	ErrLocked = errors.New("another process has the store open")
)

// Options of a store. The zero value is usable.
type Options struct {
	// Guard is asked inside every write transaction; its error refuses the write. It is how a control plane that was
	// replaced is kept from writing, for file locks cannot be trusted on network file systems.
	Guard func() error
	// Live says whether an object may still change by itself. ListLive finds those without reading the others, after a start
	// above all. By default all are. It must depend on the object alone, and never change its mind about one.
	Live func(api.Object) bool
	// Now tells the time; time.Now by default.
	Now func() time.Time
}

// Store is an open store. It is safe for concurrent use.
type Store struct {
	db     *bolt.DB
	opts   Options
	homeID string

	writing sync.Mutex // one write transaction at a time, until it is published
	commits atomic.Int64

	mu        sync.RWMutex // guards what follows
	published uint64       // the version that rows and owned show
	rows      map[key]row
	counts    map[string]int              // rows of each kind
	owned     map[string]map[key]struct{} // owner's uid → what it owns

	log *eventLog
}

// key names one object.
type key struct{ kind, namespace, name string }

func (k key) bytes() []byte { return []byte(k.namespace + "/" + k.name) }

func keyOf(obj api.Object) key {
	return key{obj.GetObjectKind().GroupVersionKind().Kind, obj.GetNamespace(), obj.GetName()}
}

// row is what memory keeps of an object.
type row struct {
	version uint64
	labels  map[string]string
	owners  []string
}

// rowOf copies, for the object is its owner's to change.
func rowOf(obj api.Object, version uint64) row {
	r := row{version: version, labels: maps.Clone(obj.GetLabels())}
	for _, ref := range obj.GetOwnerReferences() {
		r.owners = append(r.owners, string(ref.UID))
	}
	return r
}

// Open opens the store at path and makes it when there is none. A file that is damaged, foreign or newer is left
// untouched, and the error says which of these it is and what can be done.
func Open(path string, opts Options) (*Store, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Guard == nil {
		opts.Guard = func() error { return nil }
	}
	if opts.Live == nil {
		opts.Live = func(api.Object) bool { return true }
	}
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("open store %s: %w: it is no regular file; name another BENCHD_HOME", path, ErrForeign)
	}
	if err == nil && info.Size() > 0 {
		if info.Size() < 2*int64(os.Getpagesize()) {
			return nil, fmt.Errorf("open store %s: %w: it has only %d bytes; move it away, or restore a backup made with `benchd store backup`", path, ErrForeign, info.Size())
		}
		if err := inspect(path); err != nil {
			return nil, err
		}
	}
	db, err := openFile(path, false)
	if err != nil {
		return nil, err
	}
	s := &Store{db: db, opts: opts, rows: map[key]row{}, counts: map[string]int{}, owned: map[string]map[key]struct{}{}}
	if err := s.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("load store %s: %w", path, err), db.Close())
	}
	s.dropPages()
	return s, nil
}

// dropPages tells the kernel that what was read for the rows is not needed soon. The pages stay in its cache, and are no part of what
// this process is said to use: 400 MB with 100,000 runs, on login nodes that count them. What cannot be dropped stays.
func (s *Store) dropPages() {
	info, err := os.Stat(s.db.Path())
	if err != nil {
		return
	}
	_, _, _ = unix.Syscall(unix.SYS_MADVISE, s.db.Info().Data, uintptr(info.Size()), unix.MADV_DONTNEED)
}

// mappedSize is address space set aside for the file. To map more, a write has to wait for all readers, and one of them
// may be a backup that somebody reads slowly.
const mappedSize = 1 << 30

func openFile(path string, readOnly bool) (*bolt.DB, error) {
	opts := &bolt.Options{Timeout: 2 * time.Second, ReadOnly: readOnly, FreelistType: bolt.FreelistMapType, NoFreelistSync: true}
	if !readOnly {
		opts.InitialMmapSize = mappedSize
	}
	db, err := bolt.Open(path, 0o600, opts)
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("open store %s: %w: stop the other control plane first", path, ErrLocked)
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrVersionMismatch), errors.Is(err, bolterrors.ErrChecksum):
		return nil, fmt.Errorf("open store %s: %w (%w): move it away, or restore a backup made with `benchd store backup`", path, ErrForeign, err)
	case err != nil:
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	return db, nil
}

// inspect reads the whole file without writing to it, so that nothing is written before it is known to be sound.
func inspect(path string) (err error) {
	damaged := func(what any) error {
		return fmt.Errorf("read store %s: %w (%v): restore a backup made with `benchd store backup`, or move the file away", path, ErrDamaged, what)
	}
	// A file of less than two pages faults where the mapping has no page behind it; without this the process would die.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = damaged(p)
		}
	}()
	db, err := openFile(path, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return db.View(func(tx *bolt.Tx) error {
		if err := checkPages(path, db.Info().PageSize, tx.ID()); err != nil {
			return damaged(err)
		}
		meta := tx.Bucket(bucketMeta)
		if meta == nil || meta.Get(keyFormat) == nil {
			if k, _ := tx.Cursor().First(); k == nil {
				return nil // a store whose first transaction never came
			}
			return fmt.Errorf("open store %s: %w: it is a bbolt file of another program; name another BENCHD_HOME", path, ErrForeign)
		}
		if got := binary.BigEndian.Uint64(meta.Get(keyFormat)); got > format {
			return fmt.Errorf("open store %s: %w (format %d, this benchd knows %d): use the newer benchd, or another BENCHD_HOME", path, ErrNewer, got, format)
		}
		return nil
	})
}

func eachObject(tx *bolt.Tx, visit func(key, []byte) error) error {
	objects := tx.Bucket(bucketObjects)
	if objects == nil {
		return nil
	}
	return objects.ForEachBucket(func(kind []byte) error {
		return objects.Bucket(kind).ForEach(func(k, value []byte) error {
			return visit(parseKey(string(kind), k), value)
		})
	})
}

// load fills the rows and, on a new file, writes the layout.
func (s *Store) load() error {
	var version uint64
	err := s.db.Update(func(tx *bolt.Tx) error {
		meta, err := tx.CreateBucketIfNotExists(bucketMeta)
		if err != nil {
			return err
		}
		if meta.Get(keyFormat) == nil {
			if err := errors.Join(meta.Put(keyFormat, binary.BigEndian.AppendUint64(nil, format)),
				meta.Put(keyHome, []byte(uuid.NewString()))); err != nil {
				return err
			}
		}
		objects, err := tx.CreateBucketIfNotExists(bucketObjects)
		if err != nil {
			return err
		}
		for _, kind := range api.Kinds() {
			if _, err := objects.CreateBucketIfNotExists([]byte(kind)); err != nil {
				return err
			}
		}
		s.homeID = string(meta.Get(keyHome))
		version = readVersion(meta)
		if err := s.indexLive(tx); err != nil {
			return err
		}
		return eachObject(tx, func(k key, value []byte) error {
			r, err := readRow(value)
			if err != nil {
				return fmt.Errorf("%w: %s %s/%s: %w", ErrDamaged, k.kind, k.namespace, k.name, err)
			}
			s.setRow(k, r)
			return nil
		})
	})
	s.log, s.published = newEventLog(version), version
	return err
}

// indexLive makes the index of live objects where there is none: in a new store, or one that an older benchd wrote.
func (s *Store) indexLive(tx *bolt.Tx) error {
	made := tx.Bucket(bucketLive) == nil
	index, err := tx.CreateBucketIfNotExists(bucketLive)
	if err != nil {
		return err
	}
	for _, kind := range api.Kinds() {
		if _, err := index.CreateBucketIfNotExists([]byte(kind)); err != nil {
			return err
		}
	}
	if !made {
		return nil
	}
	return eachObject(tx, func(k key, value []byte) error {
		obj, err := decode(k.kind, value)
		if err != nil || !s.opts.Live(obj) {
			return nil // one that cannot be read is told when it is asked for
		}
		return index.Bucket([]byte(k.kind)).Put(k.bytes(), []byte{})
	})
}

// readRow decodes the metadata of a stored object, and only looks whether the rest is JSON, for decoding is what an open
// spends its time on.
func readRow(value []byte) (row, error) {
	if !json.Valid(value) {
		return row{}, errors.New("it is not JSON")
	}
	var meta struct {
		ResourceVersion uint64 `json:",string"`
		Labels          map[string]string
		OwnerReferences []struct{ UID string }
	}
	parts := json.NewDecoder(bytes.NewReader(value))
	for parts.More() {
		token, err := parts.Token()
		if err != nil {
			return row{}, err
		}
		switch token {
		case json.Delim('{'):
			continue
		case "metadata":
			err = parts.Decode(&meta)
		default:
			err = parts.Decode(&json.RawMessage{})
		}
		if err != nil {
			return row{}, err
		}
		if meta.ResourceVersion > 0 {
			break
		}
	}
	r := row{version: meta.ResourceVersion, labels: meta.Labels}
	for _, ref := range meta.OwnerReferences {
		r.owners = append(r.owners, ref.UID)
	}
	return r, nil
}

func readVersion(meta *bolt.Bucket) uint64 {
	if b := meta.Get(keyVersion); len(b) == 8 {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func parseKey(kind string, k []byte) key {
	for i, c := range k {
		if c == '/' {
			return key{kind, string(k[:i]), string(k[i+1:])}
		}
	}
	return key{kind, "", string(k)}
}

func (s *Store) setRow(k key, r row) {
	s.dropRow(k)
	s.rows[k] = r
	s.counts[k.kind]++
	for _, owner := range r.owners {
		if s.owned[owner] == nil {
			s.owned[owner] = map[key]struct{}{}
		}
		s.owned[owner][k] = struct{}{}
	}
}

func (s *Store) dropRow(k key) {
	for _, owner := range s.rows[k].owners {
		delete(s.owned[owner], k)
		if len(s.owned[owner]) == 0 {
			delete(s.owned, owner)
		}
	}
	if _, had := s.rows[k]; had {
		delete(s.rows, k)
		s.counts[k.kind]--
	}
}

// HomeID is drawn when the store is made. It tells jobs of this control plane from those of another.
func (s *Store) HomeID() string { return s.homeID }

// Backup writes a consistent copy of the live store to w and returns its size.
func (s *Store) Backup(w io.Writer) (int64, error) {
	var n int64
	err := s.db.View(func(tx *bolt.Tx) (err error) {
		n, err = tx.WriteTo(w)
		return err
	})
	if err != nil {
		return n, fmt.Errorf("back up store %s: %w", s.db.Path(), err)
	}
	return n, nil
}

// Close ends all watches and closes the file.
func (s *Store) Close() error {
	s.log.close()
	return s.db.Close()
}

func decode(kind string, data []byte) (api.Object, error) {
	obj := api.New(kind)
	if obj == nil {
		return nil, fmt.Errorf("decode stored object: unknown kind %q", kind)
	}
	if err := json.Unmarshal(data, obj); err != nil {
		return nil, fmt.Errorf("decode stored %s: %w", kind, err)
	}
	return obj, nil
}
