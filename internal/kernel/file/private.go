package file

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"time"
)

// patch is a stretch of a file that is shown otherwise than it is stored: first Fill, then zeros, Size bytes in all. Lengths and
// places never change, so that ranges and seeking work and nothing else in the file needs to be moved.
type patch struct {
	At   int64  `json:"at"`
	Size int64  `json:"size"`
	Fill []byte `json:"fill,omitempty"`
}

// private is what a file says beside its picture.
type private struct {
	exif        exif
	hidden      []patch
	progressive bool // JPEG: needs the memory of its coefficients
	scans       int  // JPEG
	whole       bool // the end of the picture was found
}

// readPrivate finds a file's private particulars. It never fails: what cannot be read has no particulars, or is refused by the decoder.
func readPrivate(t *filetype, r io.ReaderAt, size int64) private {
	p := private{exif: exif{orientation: 1}, whole: true}
	switch t {
	case typeJPEG:
		p.readJPEG(r, size)
	case typePNG:
		p.readPNG(r, size)
	case typeWebP:
		p.readWebP(r, size)
	case typeHEIC:
		p.readHEIC(r, size)
	case typeMP4, typeMOV, typeM4A:
		p.readMovie(r, 0, size, 0)
	}
	return p
}

func (p *private) hide(at, size int64, fill ...byte) {
	if size > 0 {
		p.hidden = append(p.hidden, patch{at, size, fill})
	}
}

const (
	maxPatches = 4096      // a file with more is refused: nobody's camera writes them
	maxExif    = 256 << 10 // bytes of EXIF that are looked at
)

// readJPEG walks the segments (ITU-T T.81 annex B). Everything that an application wrote is hidden but for what the picture
// needs to look right: JFIF, the colour profile, Adobe's colour transform, and the orientation, which is written anew. So is everything after the
// end: some phones append a film, or a second picture with its own EXIF.
func (p *private) readJPEG(r io.ReaderAt, size int64) {
	p.whole = false
	at := int64(2)
	var head [4]byte
	for len(p.hidden) < maxPatches {
		if _, err := r.ReadAt(head[:2], at); err != nil || head[0] != 0xff {
			return
		}
		marker := head[1]
		switch {
		case marker == 0xff: // fill byte
			at++
			continue
		case marker == 0xd9: // end of image
			p.whole = true
			p.hide(at+2, size-at-2)
			return
		case marker == 0x01, marker >= 0xd0 && marker <= 0xd7: // no length
			at += 2
			continue
		}
		if _, err := r.ReadAt(head[:], at); err != nil {
			return
		}
		length := int64(binary.BigEndian.Uint16(head[2:])) // counts its own two bytes
		if length < 2 || at+2+length > size {
			return
		}
		body, bodySize := at+4, length-2
		switch {
		case marker == 0xc2, marker == 0xc6:
			p.progressive = true
		case marker == 0xe1 || marker == 0xe2 || marker == 0xed || marker >= 0xe3 && marker <= 0xec || marker == 0xef || marker == 0xfe:
			p.jpegSegment(r, marker, body, bodySize)
		}
		at += 2 + length
		if marker == 0xda {
			p.scans++
			if at = endOfScan(r, at, size); at < 0 {
				return
			}
		}
	}
}

func (p *private) jpegSegment(r io.ReaderAt, marker byte, at, size int64) {
	if marker == 0xe2 && startsWith(r, at, size, "ICC_PROFILE\x00") {
		return
	}
	if marker != 0xe1 || !startsWith(r, at, size, "Exif\x00\x00") {
		p.hide(at, size)
		return
	}
	b := make([]byte, min(size-6, maxExif))
	if _, err := r.ReadAt(b, at+6); err != nil {
		return
	}
	p.exif = readExif(b)
	fill := append([]byte("Exif\x00\x00"), orientationOnly(p.exif.orientation)...)
	if p.exif.orientation == 1 || int64(len(fill)) > size {
		fill = nil
	}
	p.hide(at, size, fill...)
}

// endOfScan is where the entropy-coded data that begin at at end: at the next marker that is not part of them; -1 when there is none.
func endOfScan(r io.ReaderAt, at, size int64) int64 {
	b := make([]byte, 32<<10)
	for at < size-1 {
		n, _ := r.ReadAt(b[:min(int64(len(b)), size-at)], at)
		if n < 2 {
			return -1
		}
		for i := 0; ; {
			j := bytes.IndexByte(b[i:n-1], 0xff)
			if j < 0 {
				break
			}
			i += j + 1
			if next := b[i]; next != 0 && next != 0xff && (next < 0xd0 || next > 0xd7) {
				return at + int64(i) - 1
			}
		}
		at += int64(n) - 1 // the last byte may be the first half of a marker
	}
	return -1
}

func startsWith(r io.ReaderAt, at, size int64, text string) bool {
	b := make([]byte, len(text))
	if size < int64(len(text)) {
		return false
	}
	_, err := r.ReadAt(b, at)
	return err == nil && string(b) == text
}

// readPNG walks the chunks (ISO/IEC 15948). Hidden chunks become private ancillary ones of zeros, with a right checksum.
func (p *private) readPNG(r io.ReaderAt, size int64) {
	at := int64(8)
	var head [8]byte
	for len(p.hidden) < maxPatches {
		if _, err := r.ReadAt(head[:], at); err != nil {
			return
		}
		length, kind := int64(binary.BigEndian.Uint32(head[:4])), string(head[4:])
		if at+12+length > size {
			return
		}
		switch kind {
		case "eXIf":
			b := make([]byte, min(length, maxExif))
			if _, err := r.ReadAt(b, at+8); err == nil {
				p.exif = readExif(b)
			}
			fallthrough
		case "tEXt", "zTXt", "iTXt", "tIME":
			const blank = "anWg" // ancillary, private, safe to copy
			sum := crc32.NewIEEE()
			io.WriteString(sum, blank)     //nolint:errcheck // a hash never fails
			io.CopyN(sum, zeros{}, length) //nolint:errcheck // as above
			p.hide(at+4, 4+length, []byte(blank)...)
			p.hide(at+8+length, 4, sum.Sum(nil)...)
		case "IEND":
			p.hide(at+12, size-at-12)
			return
		}
		at += 12 + length
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// readWebP walks the chunks of the RIFF container.
func (p *private) readWebP(r io.ReaderAt, size int64) {
	var head [8]byte
	if _, err := r.ReadAt(head[:], 0); err != nil {
		return
	}
	end := min(size, 8+int64(binary.LittleEndian.Uint32(head[4:])))
	p.hide(end, size-end)
	for at := int64(12); at+8 <= end && len(p.hidden) < maxPatches; {
		if _, err := r.ReadAt(head[:], at); err != nil {
			return
		}
		length := min(int64(binary.LittleEndian.Uint32(head[4:])), end-at-8)
		switch string(head[:4]) {
		case "EXIF":
			b := make([]byte, min(length, maxExif))
			if _, err := r.ReadAt(b, at+8); err == nil {
				p.exif = readExif(bytes.TrimPrefix(b, []byte("Exif\x00\x00")))
			}
			p.hide(at+8, length)
		case "XMP ":
			p.hide(at+8, length)
		}
		at += 8 + length + length&1
	}
}

// box calls yield with each box of an ISO base media file between at and end (ISO/IEC 14496-12, 4.2): where it begins, its type and where
// its content lies. It stops at the first one that does not fit.
func boxes(r io.ReaderAt, at, end int64, yield func(start int64, kind string, body, bodyEnd int64)) {
	var head [16]byte
	for n := 0; at+8 <= end && n < maxPatches; n++ {
		if _, err := r.ReadAt(head[:8], at); err != nil {
			return
		}
		length, body := int64(binary.BigEndian.Uint32(head[:4])), at+8
		switch length {
		case 0: // to the end
			length = end - at
		case 1:
			if _, err := r.ReadAt(head[:], at); err != nil {
				return
			}
			length, body = int64(binary.BigEndian.Uint64(head[8:])), at+16 //nolint:gosec // checked below
		}
		if length < body-at || length > end-at {
			return
		}
		yield(at, string(head[4:8]), body, at+length)
		at += length
	}
}

// readMovie turns the boxes in which phones write place and device into free space.
func (p *private) readMovie(r io.ReaderAt, at, end int64, depth int) {
	boxes(r, at, end, func(start int64, kind string, body, bodyEnd int64) {
		switch kind {
		case "udta", "meta", "uuid":
			p.hide(start+4, 4, []byte("free")...)
			p.hide(body, bodyEnd-body)
		case "moov", "trak":
			if depth < 4 {
				p.readMovie(r, body, bodyEnd, depth+1)
			}
		}
	})
}

// readHEIC finds the EXIF and XMP items of a HEIF file (ISO/IEC 23008-12) by its item tables and hides their bytes. The picture's own rotation
// is elsewhere, so nothing is written anew.
func (p *private) readHEIC(r io.ReaderAt, size int64) {
	boxes(r, 0, size, func(_ int64, kind string, body, end int64) {
		if kind != "meta" || end-body < 4 || end-body > 4*mib {
			return
		}
		b := make([]byte, end-body)
		if _, err := r.ReadAt(b, body); err != nil {
			return
		}
		meta := bytes.NewReader(b)
		var info, places []byte
		boxes(meta, 4, int64(len(b)), func(_ int64, kind string, from, to int64) {
			switch kind {
			case "iinf":
				info = b[from:to]
			case "iloc":
				places = b[from:to]
			}
		})
		items := heicItems(info)
		for _, l := range heicPlaces(places) {
			item := items[l.item]
			if item == "" || l.at < 0 || l.size <= 0 || l.size > size-l.at || len(p.hidden) >= maxPatches {
				continue
			}
			if item == "Exif" && l.size > 4 {
				b := make([]byte, min(l.size, maxExif))
				if _, err := r.ReadAt(b, l.at); err == nil {
					if skip := int64(binary.BigEndian.Uint32(b)) + 4; skip < int64(len(b)) {
						p.exif = readExif(b[skip:])
					}
				}
			}
			p.hide(l.at, l.size)
		}
	})
}

// heicItems maps the ids of private items to their type, from the content of an iinf box.
func heicItems(b []byte) map[uint32]string {
	items := map[uint32]string{}
	if len(b) < 6 {
		return items
	}
	skip := int64(6)
	if b[0] != 0 {
		skip = 8
	}
	boxes(bytes.NewReader(b), skip, int64(len(b)), func(_ int64, kind string, from, to int64) {
		e := b[from:to]
		var id uint32
		switch {
		case kind == "infe" && len(e) >= 12 && e[0] == 2:
			id, e = uint32(binary.BigEndian.Uint16(e[4:])), e[8:]
		case kind == "infe" && len(e) >= 14 && e[0] == 3:
			id, e = binary.BigEndian.Uint32(e[4:]), e[10:]
		default:
			return
		}
		if t := string(e[:4]); t == "Exif" || t == "mime" {
			items[id] = t
		}
	})
	return items
}

type heicPlace struct {
	item     uint32
	at, size int64
}

// heicPlaces lists where in the file items lie, from the content of an iloc box, up to the first entry that makes no sense. Items that lie elsewhere
// are left out.
func heicPlaces(b []byte) []heicPlace {
	var out []heicPlace
	in := fields{b: b}
	version := in.number(1)
	in.number(3)
	sizes := in.number(1)
	offsetSize, lengthSize := int(sizes>>4), int(sizes&15)
	sizes = in.number(1)
	baseSize, indexSize := int(sizes>>4), 0
	idSize := 2
	if version > 0 {
		indexSize = int(sizes & 15)
	}
	if version == 2 {
		idSize = 4
	}
	for n := in.number(idSize); n > 0 && !in.short && len(out) < maxPatches; n-- {
		id, method := uint32(in.number(idSize)), uint64(0) //nolint:gosec // two or four bytes
		if version > 0 {
			method = in.number(2) & 15
		}
		in.number(2)
		base := in.number(baseSize)
		for k := in.number(2); k > 0 && !in.short && len(out) < maxPatches; k-- {
			in.number(indexSize)
			at, size := base+in.number(offsetSize), in.number(lengthSize)
			if in.short || size == 0 || at >= 1<<40 || size >= 1<<40 {
				return out
			}
			if method == 0 {
				out = append(out, heicPlace{id, int64(at), int64(size)})
			}
		}
	}
	return out
}

// fields reads big-endian numbers one after the other.
type fields struct {
	b     []byte
	short bool // the end came too early
}

func (f *fields) number(size int) (n uint64) {
	if len(f.b) < size {
		f.short, f.b = true, nil
		return 0
	}
	for _, c := range f.b[:size] {
		n = n<<8 | uint64(c)
	}
	f.b = f.b[size:]
	return n
}

// exif is what is taken from a photo's EXIF data.
type exif struct {
	orientation int // 1 to 8
	takenAt     time.Time
	longitude   float64
	latitude    float64
}
