package file

import (
	"encoding/binary"
	"strings"
	"time"

	"anwang/internal/kernel/clock"
)

// Tags of EXIF (JEITA CP-3451).
const (
	tagOrientation  = 0x0112
	tagExif         = 0x8769
	tagGPS          = 0x8825
	tagTaken        = 0x9003 // DateTimeOriginal
	tagTakenOffset  = 0x9011 // OffsetTimeOriginal
	tagLatitudeRef  = 1
	tagLatitude     = 2
	tagLongitudeRef = 3
	tagLongitude    = 4
)

// tiff is the container of EXIF data: directories of twelve-byte entries.
type tiff struct {
	b  []byte
	bo binary.ByteOrder
}

// readExif reads what it needs from EXIF data that begin with the TIFF header. It takes any bytes: what is not there stays zero.
func readExif(b []byte) exif {
	e := exif{orientation: 1}
	t := tiff{b: b}
	switch {
	case len(b) < 8:
		return e
	case string(b[:2]) == "II":
		t.bo = binary.LittleEndian
	case string(b[:2]) == "MM":
		t.bo = binary.BigEndian
	default:
		return e
	}
	main := t.directory(t.bo.Uint32(b[4:]))
	if o := main.number(tagOrientation); o >= 1 && o <= 8 {
		e.orientation = int(o)
	}
	if at := main.number(tagExif); at > 0 {
		shot := t.directory(at)
		e.takenAt = parseTaken(shot.text(tagTaken), shot.text(tagTakenOffset))
	}
	if at := main.number(tagGPS); at > 0 {
		gps := t.directory(at)
		lat, ok1 := gps.degrees(tagLatitude, tagLatitudeRef, "S")
		lon, ok2 := gps.degrees(tagLongitude, tagLongitudeRef, "W")
		if ok1 && ok2 {
			e.latitude, e.longitude = lat, lon
		}
	}
	return e
}

// parseTaken reads "2026:03:11 12:00:00". Without an offset it is Shanghai's time, which all China keeps.
func parseTaken(text, offset string) time.Time {
	if t, err := time.Parse("2006:01:02 15:04:05-07:00", text+offset); err == nil {
		return t.UTC()
	}
	t, err := time.ParseInLocation("2006:01:02 15:04:05", text, clock.Zone)
	if err != nil || t.Year() < 1990 {
		return time.Time{}
	}
	return t.UTC()
}

type directory struct {
	tiff
	entries map[uint16][]byte // by tag: the twelve bytes
}

func (t tiff) directory(at uint32) directory {
	d := directory{t, map[uint16][]byte{}}
	rest := t.from(at)
	if len(rest) < 2 {
		return d
	}
	count := int(t.bo.Uint16(rest))
	for rest = rest[2:]; count > 0 && len(rest) >= 12; count, rest = count-1, rest[12:] {
		d.entries[t.bo.Uint16(rest)] = rest[:12]
	}
	return d
}

func (t tiff) from(at uint32) []byte {
	if int64(at) >= int64(len(t.b)) {
		return nil
	}
	return t.b[at:]
}

// number is the value of a tag of type SHORT or LONG, 0 when it is not there.
func (d directory) number(tag uint16) uint32 {
	e := d.entries[tag]
	switch {
	case e == nil:
		return 0
	case d.bo.Uint16(e[2:]) == 3:
		return uint32(d.bo.Uint16(e[8:]))
	case d.bo.Uint16(e[2:]) == 4:
		return d.bo.Uint32(e[8:])
	}
	return 0
}

// value is the bytes of a tag whose items are size bytes wide.
func (d directory) value(tag uint16, kind uint16, size uint32) []byte {
	e := d.entries[tag]
	if e == nil || d.bo.Uint16(e[2:]) != kind {
		return nil
	}
	count := d.bo.Uint32(e[4:])
	if count > 1000 {
		return nil
	}
	b := e[8:]
	if count*size > 4 {
		b = d.from(d.bo.Uint32(e[8:]))
	}
	if uint32(len(b)) < count*size { //nolint:gosec // b is at most maxExif long
		return nil
	}
	return b[:count*size]
}

func (d directory) text(tag uint16) string {
	return strings.TrimRight(string(d.value(tag, 2, 1)), "\x00 ")
}

// degrees reads degrees, minutes and seconds; negative is the letter that makes them so.
func (d directory) degrees(tag, ref uint16, negative string) (float64, bool) {
	b := d.value(tag, 5, 8)
	if len(b) != 24 {
		return 0, false
	}
	var deg float64
	for i, unit := range []float64{1, 60, 3600} {
		over, under := d.bo.Uint32(b[8*i:]), d.bo.Uint32(b[8*i+4:])
		if under == 0 {
			if over == 0 {
				continue
			}
			return 0, false
		}
		deg += float64(over) / float64(under) / unit
	}
	if d.text(ref) == negative {
		deg = -deg
	}
	return deg, true
}

// orientationOnly is EXIF data that say how the picture is to be turned, and nothing else.
func orientationOnly(orientation int) []byte {
	return []byte{'M', 'M', 0, 42, 0, 0, 0, 8, 0, 1, tagOrientation >> 8, tagOrientation & 0xff, 0, 3, 0, 0, 0, 1, 0, byte(orientation), 0, 0, 0, 0, 0, 0}
}
