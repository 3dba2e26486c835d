package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
)

// bbolt trusts its pages: a damaged one makes it fault, panic in a goroutine of its own, or follow a circle for ever,
// none of which can be caught. So the whole page graph is read here first, with every offset checked.
//
//	page:    id u64, flags u16, count u16, overflow u32, then count elements, then keys and values
//	branch:  pos u32 (from the element), key size u32, page u64
//	leaf:    flags u32 (1: the value is a bucket), pos u32, key size u32, value size u32
//	bucket:  root page u64 (0: the page follows inline), sequence u64
//	meta:    page header, magic, version, page size, flags u32, bucket, freelist u64, pages u64, txid u64, checksum u64
const (
	pageHeader  = 16
	elementSize = 16
	bucketSize  = 16

	flagBranch   = 0x01
	flagLeaf     = 0x02
	flagFreelist = 0x10
	flagBucket   = 0x01

	noFreelist = ^uint64(0)
	maxDepth   = 64
)

// pages walks the pages of a bbolt file.
type pages struct {
	file io.ReaderAt
	size uint64 // of one page
	seen []bool // by page: it is part of a tree, or of the freelist
	bufs [maxDepth][]byte
}

// checkPages reads the state that the transaction left, page by page.
func checkPages(path string, pageSize, txid int) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	meta := make([]byte, pageHeader+56)
	if _, err := file.ReadAt(meta, int64(txid%2*pageSize)); err != nil {
		return fmt.Errorf("meta page: %w", err)
	}
	meta = meta[pageHeader:]
	root, freelist, end := u64(meta[16:]), u64(meta[32:]), u64(meta[40:])
	if end > uint64(info.Size())/uint64(pageSize) {
		return fmt.Errorf("the file was cut short: it has %d of %d bytes", info.Size(), end*uint64(pageSize))
	}
	p := &pages{file: file, size: uint64(pageSize), seen: make([]bool, end)}
	if err := p.tree(root, 0, nil, nil); err != nil {
		return err
	}
	if freelist == noFreelist {
		return nil
	}
	return p.freelist(freelist)
}

func u16(b []byte) int    { return int(binary.NativeEndian.Uint16(b)) }
func u32(b []byte) uint64 { return uint64(binary.NativeEndian.Uint32(b)) }
func u64(b []byte) uint64 { return binary.NativeEndian.Uint64(b) }

// read returns a page with what overflows it. The slice is good until the next read at the same depth.
func (p *pages) read(id uint64, depth int) ([]byte, error) {
	if depth >= maxDepth {
		return nil, fmt.Errorf("page %d: deeper than any tree", id)
	}
	var head [pageHeader]byte
	if id < 2 || id >= uint64(len(p.seen)) {
		return nil, fmt.Errorf("page %d is not one of %d", id, len(p.seen))
	}
	if _, err := p.file.ReadAt(head[:], int64(id*p.size)); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	if got := u64(head[:]); got != id {
		return nil, fmt.Errorf("page %d calls itself %d", id, got)
	}
	next := id + u32(head[12:]) + 1
	if next > uint64(len(p.seen)) {
		return nil, fmt.Errorf("page %d ends at page %d of %d", id, next, len(p.seen))
	}
	for i := id; i < next; i++ {
		if p.seen[i] {
			return nil, fmt.Errorf("page %d is used twice", i)
		}
		p.seen[i] = true
	}
	if n := (next - id) * p.size; uint64(cap(p.bufs[depth])) < n {
		p.bufs[depth] = make([]byte, n)
	}
	buf := p.bufs[depth][:(next-id)*p.size]
	if _, err := p.file.ReadAt(buf, int64(id*p.size)); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	return buf, nil
}

// tree checks a page and those below it. Its keys are to be from low on and below high; nil is open.
func (p *pages) tree(id uint64, depth int, low, high []byte) error {
	page, err := p.read(id, depth)
	if err != nil {
		return err
	}
	switch u16(page[8:]) {
	case flagLeaf:
		err = p.leaf(page, depth, low, high)
	case flagBranch:
		err = p.branch(page, depth, low, high)
	default:
		return fmt.Errorf("page %d is neither leaf nor branch", id)
	}
	if err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	return nil
}

func (p *pages) branch(page []byte, depth int, low, high []byte) error {
	count := u16(page[10:])
	if count == 0 {
		return fmt.Errorf("branch without elements")
	}
	keys, err := elements(page, func(e []byte) (pos, ksize, vsize uint64) { return u32(e), u32(e[4:]), 0 })
	if err != nil {
		return err
	}
	if err := ordered(keys, low, high); err != nil {
		return err
	}
	for i := range count {
		until := high
		if i+1 < count {
			until = keys[i+1].key
		}
		if err := p.tree(u64(page[pageHeader+i*elementSize+8:]), depth+1, keys[i].key, until); err != nil {
			return err
		}
	}
	return nil
}

func (p *pages) leaf(page []byte, depth int, low, high []byte) error {
	items, err := elements(page, func(e []byte) (pos, ksize, vsize uint64) { return u32(e[4:]), u32(e[8:]), u32(e[12:]) })
	if err != nil {
		return err
	}
	if err := ordered(items, low, high); err != nil {
		return err
	}
	for i, item := range items {
		switch u32(page[pageHeader+i*elementSize:]) {
		case 0:
		case flagBucket:
			if err := p.bucket(item.value, depth); err != nil {
				return fmt.Errorf("bucket %q: %w", item.key, err)
			}
		default:
			return fmt.Errorf("element %d is neither value nor bucket", i)
		}
	}
	return nil
}

func (p *pages) bucket(value []byte, depth int) error {
	if len(value) < bucketSize {
		return fmt.Errorf("%d bytes are no bucket", len(value))
	}
	if root := u64(value); root != 0 {
		return p.tree(root, depth+1, nil, nil)
	}
	inline := value[bucketSize:]
	if len(inline) < pageHeader || u16(inline[8:]) != flagLeaf {
		return fmt.Errorf("its inline page is no leaf")
	}
	return p.leaf(inline, depth, nil, nil)
}

type element struct{ key, value []byte }

// elements cuts a page into its keys and values.
func elements(page []byte, layout func([]byte) (pos, ksize, vsize uint64)) ([]element, error) {
	count, size := u16(page[10:]), uint64(len(page))
	if uint64(pageHeader+count*elementSize) > size {
		return nil, fmt.Errorf("%d elements do not fit", count)
	}
	found := make([]element, count)
	for i := range found {
		at := uint64(pageHeader + i*elementSize)
		pos, ksize, vsize := layout(page[at:])
		start := at + pos
		if start < uint64(pageHeader+count*elementSize) || start+ksize+vsize > size {
			return nil, fmt.Errorf("element %d lies outside of it", i)
		}
		found[i] = element{page[start : start+ksize], page[start+ksize : start+ksize+vsize]}
	}
	return found, nil
}

func ordered(items []element, low, high []byte) error {
	for i, item := range items {
		if i == 0 && bytes.Compare(item.key, low) < 0 || i > 0 && bytes.Compare(item.key, items[i-1].key) <= 0 ||
			high != nil && bytes.Compare(item.key, high) >= 0 {
			return fmt.Errorf("key %d is out of order", i)
		}
	}
	return nil
}

// freelist checks the list of free pages, which other programs (`bbolt compact`) leave in the file; benchd does not.
func (p *pages) freelist(id uint64) error {
	page, err := p.read(id, 0)
	if err != nil {
		return fmt.Errorf("freelist: %w", err)
	}
	count, ids := uint64(u16(page[10:])), page[pageHeader:]
	if count == 0xFFFF {
		count, ids = u64(ids), ids[8:]
	}
	if u16(page[8:]) != flagFreelist || count > uint64(len(ids)/8) {
		return fmt.Errorf("page %d is no freelist", id)
	}
	for i := range count {
		free := u64(ids[i*8:])
		if free < 2 || free >= uint64(len(p.seen)) || p.seen[free] {
			return fmt.Errorf("freelist: page %d is not free", free)
		}
		p.seen[free] = true
	}
	return nil
}
