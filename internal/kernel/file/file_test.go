package file_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"
	"golang.org/x/text/encoding/simplifiedchinese"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/file"
	"anwang/internal/kernel/kerneltest"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
)

var parts = []db.Migrations{audit.Migrations, file.Migrations}

// world is a store whose record type "box.item" is seen by holders of box.view in 石台县; box "hidden" is seen by nobody.
type world struct {
	*file.Store
	t   testing.TB
	db  *db.DB
	log *audit.Log
	reg *record.Registry
	dir string
}

func open(t testing.TB, d *db.DB, cfg file.Config) *world {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "files")
	bucket, err := file.OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bucket.Close() })
	return openBucket(t, d, cfg, bucket, dir)
}

func openBucket(t testing.TB, d *db.DB, cfg file.Config, bucket *blob.Bucket, dir string) *world {
	w := &world{t: t, db: d, log: kerneltest.NewLog(t, d), reg: &record.Registry{}, dir: dir}
	w.Store = file.New(d, w.log, w.reg, bucket, cfg, slog.New(slog.DiscardHandler))
	w.Guard("box.item", func(ctx context.Context, recordType, id string) error {
		switch {
		case id == "broken":
			return errors.New("database away")
		case id == "hidden" || !scope.For(ctx, "box.view").Sees(place):
			return errs.NotFound("record.notFound", "盒子不存在。")
		}
		return nil
	})
	return w
}

var place = scope.At("341722100000", "gas", "")

func as(ctx context.Context, id string, permissions ...string) context.Context {
	return actor.With(ctx, &actor.Actor{Kind: actor.Person, ID: id, Name: "甲" + id, Grants: []actor.Grant{{Permissions: permissions, Divisions: []string{"341722000000"}}}})
}

func (w *world) upload(ctx context.Context, name string, body []byte) *file.Uploaded {
	w.t.Helper()
	u, err := w.Upload(ctx, name, bytes.NewReader(body))
	if err != nil {
		w.t.Fatalf("%s: %v", name, err)
	}
	return u
}

func (w *world) attach(ctx context.Context, box string, ids ...string) error {
	return w.db.Tx(ctx, func(ctx context.Context) error {
		_, err := w.Attach(ctx, file.AttachInput{RecordType: "box.item", RecordID: box, Slot: "photo", Place: place, IDs: ids})
		return err
	})
}

func (w *world) mustAttach(ctx context.Context, box string, ids ...string) {
	w.t.Helper()
	if err := w.attach(ctx, box, ids...); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) read(ctx context.Context, id string, v file.Variant) ([]byte, error) {
	c, err := w.Open(ctx, id, v)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return io.ReadAll(c)
}

func (w *world) mustRead(ctx context.Context, id string, v file.Variant) []byte {
	w.t.Helper()
	b, err := w.read(ctx, id, v)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

func (w *world) count(query string, args ...any) (n int) {
	w.t.Helper()
	if err := w.db.Conn(w.t.Context()).NewRaw(query, args...).Scan(w.t.Context(), &n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

// objects counts what lies in the folder.
func (w *world) objects() (n int) {
	filepath.WalkDir(w.dir, func(_ string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			n++
		}
		return nil
	})
	return n
}

func code(err error) string {
	if e := errs.As(err); e != nil {
		return e.Code
	}
	return fmt.Sprint(err)
}

// photo is a picture of soft blotches, each seed another one.
func photo(seed uint64, w, h int) *image.RGBA {
	rnd := rand.New(rand.NewPCG(seed, 1))
	const n = 12
	var tone [n + 1][n + 1]float64
	for y := range tone {
		for x := range tone[y] {
			tone[y][x] = rnd.Float64() * 255
		}
	}
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		fy := float64(y) / float64(h) * n
		for x := range w {
			fx := float64(x) / float64(w) * n
			x0, y0 := int(fx), int(fy)
			dx, dy := fx-float64(x0), fy-float64(y0)
			v := (tone[y0][x0]*(1-dx)+tone[y0][x0+1]*dx)*(1-dy) + (tone[y0+1][x0]*(1-dx)+tone[y0+1][x0+1]*dx)*dy
			img.SetRGBA(x, y, color.RGBA{uint8(v), uint8(255 - v), 128, 255})
		}
	}
	return img
}

func jpegOf(img image.Image, quality int) []byte {
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: quality}); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func pngOf(img image.Image) []byte {
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// exifData is little-endian EXIF as a phone writes it: 30°12′36″N 117°29′24″E, 2026-03-11 09:30 Shanghai, and a device name.
func exifData(orientation uint16) []byte {
	le := binary.LittleEndian
	var b []byte
	u16 := func(v ...uint16) {
		for _, v := range v {
			b = le.AppendUint16(b, v)
		}
	}
	u32 := func(v ...uint32) {
		for _, v := range v {
			b = le.AppendUint32(b, v)
		}
	}
	entry := func(tag, kind uint16, count, value uint32) { u16(tag, kind); u32(count, value) }
	const main, shot, gps, data = 8, 8 + 2 + 4*12 + 4, 62 + 2 + 12 + 4, 80 + 2 + 4*12 + 4
	b = append(b, "II*\x00"...)
	u32(main)
	u16(4)
	entry(0x0110, 2, 12, data) // model
	entry(0x0112, 3, 1, uint32(orientation))
	entry(0x8769, 4, 1, shot)
	entry(0x8825, 4, 1, gps)
	u32(0)
	u16(1)
	entry(0x9003, 2, 20, data+12)
	u32(0)
	u16(4)
	entry(1, 2, 2, 'N')
	entry(2, 5, 3, data+32)
	entry(3, 2, 2, 'E')
	entry(4, 5, 3, data+56)
	u32(0)
	b = append(b, "SECRETPHONE\x002026:03:11 09:30:00\x00"...)
	u32(30, 1, 12, 1, 3600, 100)
	u32(117, 1, 29, 1, 2400, 100)
	return b
}

// withSegment puts a JPEG segment behind the start of the image.
func withSegment(b []byte, marker byte, body []byte) []byte {
	out := append([]byte{0xff, 0xd8, 0xff, marker}, byte((len(body)+2)>>8), byte(len(body)+2))
	return append(append(out, body...), b[2:]...)
}

func withExif(b []byte, orientation uint16) []byte {
	return withSegment(b, 0xe1, append([]byte("Exif\x00\x00"), exifData(orientation)...))
}

func pngChunk(kind string, body []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	b = append(append(b, kind...), body...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
}

func box(kind string, body ...[]byte) []byte {
	all := bytes.Join(body, nil)
	return append(append(binary.BigEndian.AppendUint32(nil, uint32(len(all)+8)), kind...), all...)
}

func ftyp(brand string) []byte { return box("ftyp", []byte(brand+"\x00\x00\x02\x00"+brand)) }

func docx(extra ...string) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range append([]string{"[Content_Types].xml", "word/document.xml"}, extra...) {
		f, _ := z.Create(name)
		io.WriteString(f, "<x/>")
	}
	z.Close()
	return b.Bytes()
}

func zipOf(names ...string) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range names {
		f, _ := z.Create(name)
		io.WriteString(f, "<x/>")
	}
	z.Close()
	return b.Bytes()
}

func TestLife(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		w := open(t, d, file.Config{})
		grid := as(t.Context(), "grid", "box.view")
		body := jpegOf(photo(1, 2000, 1000), 90)
		u := w.upload(grid, "现场 照片.JPG", body)
		sum := sha256.Sum256(body)
		if u.Hash != hex.EncodeToString(sum[:]) || u.Name != "现场 照片.jpg" || u.MIME != "image/jpeg" || u.Width != 2000 || u.Height != 1000 || u.Size != int64(len(body)) {
			t.Errorf("uploaded: %+v", u)
		}
		if err := w.attach(as(t.Context(), "other", "box.view"), "b1", u.ID); code(err) != "file.noUpload" {
			t.Errorf("another person attaches it: %v", err)
		}
		w.mustAttach(grid, "b1", u.ID)
		w.mustAttach(grid, "b1", u.ID) // the phone repeats its request
		if err := w.attach(grid, "b2", u.ID); code(err) != "file.noUpload" {
			t.Errorf("attached to two records: %v", err)
		}
		list, err := w.Of(as(t.Context(), "other", "box.view"), "box.item", "b1")
		if err != nil || len(list) != 1 {
			t.Fatalf("%d attachments, %v", len(list), err)
		}
		a := list[0]
		if a.ID != u.ID || a.Hash != u.Hash || a.Slot != "photo" || a.CountyCode != "341722000000" || a.Uploader != "grid" || a.UploaderName != "甲grid" || a.State != file.Attached {
			t.Errorf("attachment: %+v", a)
		}
		if got := w.mustRead(as(t.Context(), "other", "box.view"), u.ID, file.Shown); !bytes.Equal(got, body) {
			t.Error("shown bytes differ")
		}
		for v, side := range map[file.Variant]int{file.Small: 320, file.Large: 1280} {
			cfg, kind, err := image.DecodeConfig(bytes.NewReader(w.mustRead(grid, u.ID, v)))
			if err != nil || kind != "jpeg" || cfg.Width != side || cfg.Height != side/2 {
				t.Errorf("%s: %v %s %v", v, cfg, kind, err)
			}
		}
		err = w.db.Tx(grid, func(ctx context.Context) error { return w.Remove(ctx, "box.item", "b1", u.ID, "传错了") })
		if err != nil {
			t.Fatal(err)
		}
		if list, err := w.Of(grid, "box.item", "b1"); err != nil || len(list) != 0 {
			t.Errorf("after removing: %d, %v", len(list), err)
		}
		if _, err := w.read(grid, u.ID, file.Shown); code(err) != "file.notFound" {
			t.Errorf("removed file opens: %v", err)
		}
		d.Clock.Advance(100 * 24 * time.Hour)
		if _, err := w.Sweep(t.Context()); err != nil || w.objects() != 3 {
			t.Errorf("evidence was swept: %d objects, %v", w.objects(), err)
		}
		if err := w.log.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		report, err := w.log.Verify(t.Context(), w.reg.Tables(), nil)
		if err != nil || !report.OK() || report.Records != 1 || report.Leaves != 2 {
			t.Errorf("verification: %+v, %v", report, err)
		}
		if err := w.Check(t.Context(), func(hash, problem string) { t.Error(hash, problem) }); err != nil {
			t.Error(err)
		}
	})
}

func TestOutsider(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		w := open(t, d, file.Config{})
		grid := as(t.Context(), "grid", "box.view")
		waiting := w.upload(grid, "a.jpg", jpegOf(photo(1, 100, 100), 90))
		hung := w.upload(grid, "b.jpg", withExif(jpegOf(photo(2, 100, 100), 90), 1))
		w.mustAttach(grid, "b1", hung.ID)
		hidden := w.upload(grid, "c.jpg", jpegOf(photo(3, 100, 100), 90))
		w.mustAttach(grid, "hidden", hidden.ID)

		stranger := as(t.Context(), "stranger", "other.view")
		colleague := as(t.Context(), "colleague", "box.view")
		for _, v := range []file.Variant{file.Shown, file.Small, file.Large, file.Original} {
			for _, c := range []struct {
				who string
				ctx context.Context
				id  string
			}{{"nobody", t.Context(), waiting.ID}, {"nobody", t.Context(), hung.ID}, {"stranger", stranger, waiting.ID}, {"stranger", stranger, hung.ID},
				{"colleague", colleague, waiting.ID}, {"colleague", colleague, hidden.ID}, {"uploader", grid, hidden.ID},
				{"anyone", grid, "no-such-id"}, {"anyone", grid, "../../etc/passwd"}, {"anyone", grid, "' OR 1=1 --"}} {
				if _, err := w.read(c.ctx, c.id, v); code(err) != "file.notFound" {
					t.Errorf("%s opens %s %s: %v", c.who, c.id, v, err)
				}
			}
		}
		if _, err := w.Of(stranger, "box.item", "b1"); code(err) != "file.notFound" {
			t.Errorf("stranger lists: %v", err)
		}
		if _, err := w.Of(grid, "unknown.type", "b1"); code(err) != "file.notFound" {
			t.Errorf("type without guard: %v", err)
		}
		if _, err := w.Of(grid, "box.item", "broken"); err == nil || errs.As(err) != nil {
			t.Errorf("a failing guard must be an internal error: %v", err)
		}
		if _, err := w.Upload(t.Context(), "a.jpg", strings.NewReader("x")); code(err) != "file.signIn" {
			t.Errorf("nobody uploads: %v", err)
		}
		if _, err := w.OriginOf(colleague, hung.ID); code(err) != "file.original" {
			t.Errorf("colleague reads the origin: %v", err)
		}
		if _, err := w.read(colleague, hung.ID, file.Original); code(err) != "file.original" {
			t.Errorf("colleague opens the original: %v", err)
		}
		err := d.Tx(grid, func(ctx context.Context) error { return w.Remove(ctx, "box.item", "b2", hung.ID, "别的记录") })
		if errs.KindOf(err) != errs.KindNotFound {
			t.Errorf("removed through another record: %v", err)
		}
	})
}

// Position, time and device reach nobody but the uploader and who may view originals, and each look of the latter is in the log.
func TestPrivateParticulars(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		w := open(t, d, file.Config{})
		grid := as(t.Context(), "grid", "box.view")
		officer := as(t.Context(), "officer", "box.view", file.ViewOriginal)
		plain := jpegOf(photo(1, 640, 480), 90)
		body := withSegment(withSegment(withExif(plain, 6), 0xe1, []byte("http://ns.adobe.com/xap/1.0/\x00SECRETXMP")), 0xfe, []byte("SECRETCOMMENT"))
		body = append(body, withExif(plain, 1)...) // some phones append a second picture
		u := w.upload(grid, "a.jpg", body)
		if u.Width != 480 || u.Height != 640 {
			t.Errorf("a picture on its side measures %d×%d", u.Width, u.Height)
		}
		w.mustAttach(grid, "b1", u.ID)

		shown := w.mustRead(officer, u.ID, file.Shown)
		if len(shown) != len(body) {
			t.Fatalf("%d bytes shown of %d", len(shown), len(body))
		}
		if bytes.Contains(shown, []byte("SECRET")) || bytes.Contains(shown, []byte("2026:03:11")) {
			t.Error("particulars are shown")
		}
		if img, err := jpeg.Decode(bytes.NewReader(shown)); err != nil || img.Bounds().Dx() != 640 {
			t.Errorf("what is shown does not decode: %v", err)
		}
		if !bytes.Contains(shown, []byte("Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06")) {
			t.Error("the orientation is lost")
		}
		for _, ctx := range []context.Context{grid, officer} {
			if got := w.mustRead(ctx, u.ID, file.Original); !bytes.Equal(got, body) {
				t.Error("the original differs")
			}
			o, err := w.OriginOf(ctx, u.ID)
			want := time.Date(2026, 3, 11, 1, 30, 0, 0, time.UTC)
			if err != nil || !o.TakenAt.Equal(want) || !o.Placed || o.Latitude != 30.21 || o.Longitude != 117.49 {
				t.Errorf("origin %+v, %v", o, err)
			}
		}
		if n := w.count("SELECT count(*) FROM audit_entry WHERE kind = 'file.originalViewed' AND record_id = ?", u.ID); n != 2 {
			t.Errorf("%d looks in the log", n)
		}
		small := w.mustRead(grid, u.ID, file.Small)
		if cfg, err := jpeg.DecodeConfig(bytes.NewReader(small)); err != nil || cfg.Width != 240 || cfg.Height != 320 || bytes.Contains(small, []byte("Exif")) {
			t.Errorf("thumbnail %v %v", cfg, err)
		}
		// Turned to the right by 90°: what was at the left bottom is now at the left top.
		thumb, _ := jpeg.Decode(bytes.NewReader(small))
		raw, _ := jpeg.Decode(bytes.NewReader(plain))
		for _, p := range [][4]int{{20, 20, 40, 440}, {220, 20, 40, 40}, {20, 300, 600, 440}, {220, 300, 600, 40}} {
			a, b := tone(thumb, p[0], p[1]), tone(raw, p[2], p[3])
			if a-b > 30 || b-a > 30 {
				t.Errorf("thumbnail is not turned: tone %d at %v, %d in the picture", a, p, b)
			}
		}
	})
}

func tone(img image.Image, x, y int) int { r, _, _, _ := img.At(x, y).RGBA(); return int(r >> 8) }

// The other formats that carry particulars.
func TestPrivateParticularsOfOtherTypes(t *testing.T) {
	t.Parallel()
	w := open(t, kerneltest.Open(t, db.SQLite, parts...), file.Config{})
	grid := as(t.Context(), "grid")
	plain := pngOf(photo(1, 64, 64))
	withChunks := append(append(append([]byte{}, plain[:33]...), pngChunk("tEXt", []byte("Comment\x00SECRET"))...), pngChunk("eXIf", exifData(3))...)
	withChunks = append(append(withChunks, plain[33:]...), "SECRET tail"...)

	exif := append([]byte{0, 0, 0, 0}, exifData(1)...)
	heic := func(at uint32) []byte {
		be := binary.BigEndian
		info := box("iinf", []byte{0, 0, 0, 0, 0, 1}, box("infe", []byte{2, 0, 0, 0, 0, 9, 0, 0}, []byte("Exif\x00")))
		places := box("iloc", []byte{0, 0, 0, 0, 0x44, 0, 0, 1, 0, 9, 0, 0, 0, 1}, be.AppendUint32(be.AppendUint32(nil, at), uint32(len(exif))))
		return append(ftyp("heic"), box("meta", []byte{0, 0, 0, 0}, info, places)...)
	}
	at := uint32(len(heic(0)) + 8)
	movie := bytes.Join([][]byte{ftyp("qt  "), box("moov", box("mvhd", make([]byte, 100)), box("udta", box("\xa9xyz", []byte("SECRET+30.2100+117.4900/"))),
		box("trak", box("meta", []byte("SECRET")))), box("mdat", []byte("frames"))}, nil)
	riff := func(chunks ...[]byte) []byte {
		all := append([]byte("WEBP"), bytes.Join(chunks, nil)...)
		return append(binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(len(all))), all...)
	}
	chunk := func(kind string, body []byte) []byte {
		return append(binary.LittleEndian.AppendUint32([]byte(kind), uint32(len(body))), append(body, make([]byte, len(body)&1)...)...)
	}
	// The smallest lossless WebP: one pixel.
	vp8l := chunk("VP8L", []byte{0x2f, 0, 0, 0, 0, 0x88, 0x88, 8})
	for _, c := range []struct {
		name   string
		body   []byte
		placed bool
	}{
		{"a.png", withChunks, true},
		{"a.heic", append(heic(at), box("mdat", exif)...), true},
		{"a.mov", movie, false},
		{"a.webp", append(riff(vp8l, chunk("EXIF", exifData(1)), chunk("XMP ", []byte("SECRETXMP"))), "SECRET tail"...), true},
	} {
		u, err := w.Upload(grid, c.name, bytes.NewReader(c.body))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		shown := w.mustRead(grid, u.ID, file.Shown)
		if len(shown) != len(c.body) || bytes.Contains(shown, []byte("SECRET")) || bytes.Contains(shown, []byte("2026:03:11")) {
			t.Errorf("%s shows particulars, %d of %d bytes", c.name, len(shown), len(c.body))
		}
		if c.name == "a.png" {
			if _, err := png.Decode(bytes.NewReader(shown)); err != nil {
				t.Errorf("shown PNG does not decode: %v", err)
			}
		}
		if got := w.mustRead(grid, u.ID, file.Original); !bytes.Equal(got, c.body) {
			t.Errorf("%s: the original differs", c.name)
		}
		if o, err := w.OriginOf(grid, u.ID); err != nil || o.Placed != c.placed || c.placed && o.Latitude != 30.21 {
			t.Errorf("%s: origin %+v, %v", c.name, o, err)
		}
	}
}

func TestTypes(t *testing.T) {
	t.Parallel()
	w := open(t, kerneltest.Open(t, db.SQLite, parts...), file.Config{})
	grid := as(t.Context(), "grid")
	gbk, _ := simplifiedchinese.GB18030.NewEncoder().Bytes([]byte(strings.Repeat("编号,名称\n1,石台县\n", 1000)))
	var animated bytes.Buffer
	gif.Encode(&animated, photo(1, 20, 20), nil)
	mp3 := append([]byte{0xff, 0xfb, 0x90, 0}, make([]byte, 413)...)
	for _, c := range []struct {
		name, want string // want: "MIME name" or the error's code
		body       []byte
	}{
		{"a.jpg", "image/jpeg a.jpg", jpegOf(photo(1, 20, 20), 90)},
		{"a.png", "image/jpeg a.jpg", jpegOf(photo(1, 20, 20), 91)}, // the ending lies
		{"报告.exe", "image/png 报告.png", pngOf(photo(1, 20, 20))},
		{"noending", "image/png noending.png", pngOf(photo(2, 20, 20))},
		{"a.gif", "image/gif a.gif", animated.Bytes()},
		{"IMG_1.HEIC", "image/heic IMG_1.heic", append(ftyp("heic"), box("mdat", []byte("x"))...)},
		{"a.pdf", "application/pdf a.pdf", []byte("%PDF-1.7\n...")},
		{"方案.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document 方案.docx", docx()},
		{"方案.zip", "application/vnd.openxmlformats-officedocument.wordprocessingml.document 方案.docx", docx("x")},
		{"a.xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet a.xlsx", zipOf("[Content_Types].xml", "xl/workbook.xml")},
		{"a.pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation a.pptx", zipOf("[Content_Types].xml", "ppt/presentation.xml")},
		{"公文.ofd", "application/ofd 公文.ofd", zipOf("OFD.xml", "Doc_0/Document.xml")},
		{"a.csv", "text/plain; charset=utf-8 a.csv", []byte("\ufeff编号,名称\n")},
		{"a.csv", "text/plain; charset=gb18030 a.csv", gbk},
		{"long.txt", "text/plain; charset=utf-8 long.txt", []byte("x" + strings.Repeat("安全", 4000))},
		{"a.mp4", "video/mp4 a.mp4", append(ftyp("isom"), box("mdat", []byte("x"))...)},
		{"a.mov", "video/quicktime a.mov", append(ftyp("qt  "), box("mdat", []byte("x"))...)},
		{"a.m4a", "audio/mp4 a.m4a", append(ftyp("M4A "), box("mdat", []byte("x"))...)},
		{"a.mp3", "audio/mpeg a.mp3", bytes.Repeat(mp3, 3)},
		{"a.amr", "audio/amr a.amr", []byte("#!AMR\n\x00\x01")},
		{"a.wav", "audio/wav a.wav", []byte("RIFF\x00\x00\x00\x00WAVEfmt ")},

		{"a.jpg", "file.empty", nil},
		{"a.zip", "file.type", zipOf("a.txt")},
		{"a.docx", "file.type", zipOf("word/document.xml")}, // no list of content types
		{"a.docm", "file.type", docx("word/vbaProject.bin")},
		{"a.doc", "file.type", []byte("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")},
		{"a.rar", "file.type", []byte("Rar!\x1a\x07")},
		{"a.svg", "file.type", []byte(`<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>`)},
		{"a.txt", "file.type", []byte("\ufeff \n<!DOCTYPE html><script>alert(1)</script>")},
		{"a.txt", "file.type", []byte("<?xml version='1.0'?>")},
		{"a.js", "file.type", []byte("alert(1)")},
		{"a.html", "file.type", []byte("hello")},
		{"a.txt", "file.type", []byte("MZ\x90\x00\x03\x00\x00\x00")},
		{"a.jpg", "file.type", []byte("\x7fELF\x02\x01\x01")},
		{"a.txt", "file.type", []byte("\xff\xfeh\x00i\x00")},
		{"a.txt", "file.type", []byte{0x80, 0xff, 0x81}},
		{"a.png", "file.type", []byte("hello")},
		{"a.avi", "file.type", []byte("RIFF\x00\x00\x00\x00AVI ")},
	} {
		u, err := w.Upload(grid, c.name, bytes.NewReader(c.body))
		got := code(err)
		if err == nil {
			got = u.MIME + " " + u.Name
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// Every hostile file is refused with a message for people, or kept as harmless bytes; none stops the program.
func TestHostile(t *testing.T) {
	t.Parallel()
	w := open(t, kerneltest.Open(t, db.SQLite, parts...), file.Config{})
	grid := as(t.Context(), "grid")
	good := jpegOf(photo(1, 400, 300), 90)

	header := func(w, h uint32) []byte {
		be := binary.BigEndian
		ihdr := append(be.AppendUint32(be.AppendUint32(nil, w), h), 8, 6, 0, 0, 0)
		return bytes.Join([][]byte{[]byte("\x89PNG\r\n\x1a\n"), pngChunk("IHDR", ihdr), pngChunk("IDAT", nil), pngChunk("IEND", nil)}, nil)
	}
	bomb := func(declared uint32) []byte {
		b := docx()
		at := bytes.Index(b, []byte("PK\x01\x02"))
		binary.LittleEndian.PutUint32(b[at+24:], declared)
		return b
	}
	// A quarter of a million scans over a wide picture: a few bytes each, a pass over all pixels each.
	scans := func() []byte {
		b := []byte{0xff, 0xd8, 0xff, 0xc2, 0, 11, 8, 0x20, 0, 0x20, 0, 1, 1, 0x11, 0}
		return append(append(b, bytes.Repeat([]byte{0xff, 0xda, 0, 8, 1, 1, 0, 1, 1, 0}, 250_000)...), 0xff, 0xd9)
	}
	manyEntries := func() []byte {
		e := make([]byte, 46)
		copy(e, "PK\x01\x02")
		b := append([]byte("PK\x03\x04"), bytes.Repeat(e, 300_000)...)
		end := make([]byte, 22)
		copy(end, "PK\x05\x06")
		binary.LittleEndian.PutUint16(end[10:], 60_000)
		binary.LittleEndian.PutUint32(end[12:], uint32(300_000*46))
		binary.LittleEndian.PutUint32(end[16:], 4)
		return append(b, end...)
	}
	for _, c := range []struct {
		what, want string
		body       []byte
	}{
		{"truncated JPEG", "file.damaged", good[:len(good)/2]},
		{"JPEG without its last byte", "file.damaged", good[:len(good)-1]},
		{"three bytes of JPEG", "file.damaged", good[:3]},
		{"JPEG with garbage inside", "file.damaged", append(append(append([]byte{}, good[:len(good)/2]...), 0xff, 0xc4, 0xff, 0xff), good[len(good)/2:]...)},
		{"truncated PNG", "file.damaged", pngOf(photo(1, 100, 100))[:200]},
		{"50,000×50,000 PNG header", "file.pixels", header(50_000, 50_000)},
		{"overflowing PNG header", "file.damaged", header(1<<31, 1<<31)},
		{"no pixels", "file.damaged", header(0, 0)},
		{"JPEG of countless scans", "file.damaged", scans()},
		{"docx that unpacks to 4 GB", "file.bomb", bomb(0xfffffff0)},
		{"docx that unpacks to 300 MB", "file.bomb", bomb(300 << 20)},
		{"zip of 300,000 entries", "file.damaged", manyEntries()},
		{"zip without its end", "file.damaged", docx()[:60]},
		{"GIF header alone", "file.damaged", []byte("GIF89a")},
		{"WebP header alone", "file.damaged", []byte("RIFF\x10\x00\x00\x00WEBPVP8 ")},
	} {
		if _, err := w.Upload(grid, "a.jpg", bytes.NewReader(c.body)); code(err) != c.want {
			t.Errorf("%s: %v, want %s", c.what, err, c.want)
		} else if errs.KindOf(err) != errs.KindInvalid {
			t.Errorf("%s: not an invalid error: %v", c.what, err)
		}
	}

	// A HEIC whose item table says, in eight bytes each, that a hundred thousand items have 65,535 pieces of no size.
	items := append([]byte{0, 0, 0, 0, 0, 0, 0xff, 0xff}, bytes.Repeat([]byte{0, 1, 0, 0, 0xff, 0xff}, 100_000)...)
	w.upload(grid, "a.heic", append(ftyp("heic"), box("meta", []byte{0, 0, 0, 0}, box("iloc", items))...))

	// Polyglots are what they begin with, and are served as that, never to be guessed.
	html := []byte("<html><script>alert(document.cookie)</script>")
	for _, body := range [][]byte{
		append(append([]byte{}, good...), docx()...),
		append(append([]byte{}, good...), html...),
		withSegment(good, 0xfe, html),
		withSegment(good, 0xe5, append([]byte("%PDF-1.7\n"), html...)),
	} {
		u := w.upload(grid, "x.html", body)
		r := httptest.NewRecorder()
		c, err := w.Open(grid, u.ID, file.Shown)
		if err != nil {
			t.Fatal(err)
		}
		c.Serve(r, httptest.NewRequest("GET", "/", nil), false)
		c.Close()
		h := r.Result().Header
		if h.Get("Content-Type") != "image/jpeg" || h.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(h.Get("Content-Security-Policy"), "sandbox") {
			t.Errorf("headers %v", h)
		}
		if bytes.Contains(r.Body.Bytes(), []byte("script")) || bytes.Contains(r.Body.Bytes(), []byte("word/")) {
			t.Error("the second file of a polyglot is shown")
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	w := open(t, kerneltest.Open(t, db.SQLite, parts...), file.Config{})
	grid := as(t.Context(), "grid")
	for name, want := range map[string]string{
		"../../etc/passwd":                "passwd.jpg",
		`C:\Users\me\现场.jpg`:              "现场.jpg",
		"a/b\\":                           "文件.jpg",
		"":                                "文件.jpg",
		"..":                              "文件.jpg",
		".jpg":                            "文件.jpg",
		"NUL.jpg":                         "文件NUL.jpg",
		"com1":                            "文件com1.jpg",
		"photo\u202egpj.exe":              "photogpj.jpg", // shown as photoexe.jpg by what follows the mark
		"a\x00b\r\nSet-Cookie: x=1.jpg":   "abSet-Cookie_ x=1.jpg",
		"a\u2066b\u200bc\ufeff.jpg":       "abc.jpg",
		"e\u0301.jpg":                     "é.jpg",
		"\xff\xfe.jpg":                    "文件.jpg",
		"  .x. .jpg":                      "x.jpg",
		`a"b<c>|?*.jpg`:                   "a_b_c____.jpg",
		"报告.tar.gz.jpeg":                  "报告.tar.gz.jpeg",
		strings.Repeat("长", 500) + ".jpg": strings.Repeat("长", 116) + ".jpg",
		"第1.2节说明（初稿）":                     "第1.2节说明（初稿）.jpg",
	} {
		body := jpegOf(photo(uint64(len(name)), 16, 16), 90)
		if got := w.upload(grid, name, body).Name; got != want {
			t.Errorf("%q becomes %q, want %q", name, got, want)
		}
	}
	got := file.Disposition("attachment", "现场\"照片;\r\n 1.jpg")
	if want := `attachment; filename="________ 1.jpg"; filename*=UTF-8''%E7%8E%B0%E5%9C%BA%22%E7%85%A7%E7%89%87%3B%0D%0A%201.jpg`; got != want {
		t.Errorf("disposition %s, want %s", got, want)
	}
}

func TestServe(t *testing.T) {
	t.Parallel()
	w := open(t, kerneltest.Open(t, db.SQLite, parts...), file.Config{})
	grid := as(t.Context(), "grid")
	body := withExif(jpegOf(photo(1, 300, 300), 90), 1)
	u := w.upload(grid, "现场.jpg", body)
	whole := w.mustRead(grid, u.ID, file.Shown)
	get := func(v file.Variant, download bool, header ...string) *http.Response {
		t.Helper()
		c, err := w.Open(grid, u.ID, v)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		r := httptest.NewRequest("GET", "/", nil)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		rec := httptest.NewRecorder()
		c.Serve(rec, r, download)
		return rec.Result()
	}
	for _, at := range []int{0, 10, 40, 200, len(body) - 5} { // ranges begin inside and outside of what is blanked
		r := get(file.Shown, false, "Range", fmt.Sprintf("bytes=%d-%d", at, at+3))
		b, _ := io.ReadAll(r.Body)
		if r.StatusCode != 206 || !bytes.Equal(b, whole[at:at+4]) {
			t.Errorf("range at %d: %d %x, want %x", at, r.StatusCode, b, whole[at:at+4])
		}
	}
	r := get(file.Shown, false)
	if d := r.Header.Get("Content-Disposition"); !strings.HasPrefix(d, "inline;") {
		t.Error(d)
	}
	if r := get(file.Shown, false, "If-None-Match", r.Header.Get("ETag")); r.StatusCode != 304 {
		t.Errorf("again: %d", r.StatusCode)
	}
	if r := get(file.Original, false, "If-None-Match", r.Header.Get("ETag")); r.StatusCode != 200 {
		t.Error("the original is taken for what is shown")
	}
	if d := get(file.Large, true).Header.Get("Content-Disposition"); !strings.HasPrefix(d, "attachment;") || !strings.Contains(d, "%E7%8E%B0") {
		t.Error(d)
	}
	text := w.upload(grid, "a.txt", []byte("hello"))
	c, err := w.Open(grid, text.ID, file.Shown)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	rec := httptest.NewRecorder()
	c.Serve(rec, httptest.NewRequest("GET", "/", nil), false)
	if d := rec.Result().Header.Get("Content-Disposition"); !strings.HasPrefix(d, "attachment;") {
		t.Errorf("text is shown in place: %s", d)
	}
	if _, err := w.Open(grid, text.ID, file.Small); code(err) != "file.noThumb" {
		t.Errorf("thumbnail of a text: %v", err)
	}
	if _, err := w.Open(grid, text.ID, "huge"); code(err) != "file.variant" {
		t.Errorf("unknown variant: %v", err)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		spool := t.TempDir()
		w := open(t, d, file.Config{ImageLimit: 50_000, DocumentLimit: 10_000, MaxWaiting: 2, Spool: spool})
		grid := as(t.Context(), "grid")
		endless := io.MultiReader(bytes.NewReader(jpegOf(photo(1, 50, 50), 90)), zeros{})
		if _, err := w.Upload(grid, "a.jpg", endless); code(err) != "file.tooLarge" {
			t.Errorf("endless picture: %v", err)
		}
		if _, err := w.Upload(grid, "a.txt", strings.NewReader(strings.Repeat("x", 10_001))); code(err) != "file.tooLarge" {
			t.Errorf("long text: %v", err)
		}
		broken := io.MultiReader(strings.NewReader("%PDF-1.7 "+strings.Repeat("x", 6000)), failing{})
		if _, err := w.Upload(grid, "a.pdf", broken); code(err) != "file.interrupted" {
			t.Errorf("client hangs up: %v", err)
		}
		limited := http.MaxBytesReader(httptest.NewRecorder(), io.NopCloser(strings.NewReader("%PDF-1.7"+strings.Repeat("x", 9000))), 8000)
		if _, err := w.Upload(grid, "a.pdf", limited); code(err) != "file.tooLarge" {
			t.Errorf("more than the door lets in: %v", err)
		}
		if _, err := w.Upload(grid, "a.pdf", failing{}); code(err) != "file.interrupted" {
			t.Errorf("client hangs up at once: %v", err)
		}
		w.upload(grid, "a.txt", []byte(strings.Repeat("x", 10_000)))
		w.upload(grid, "b.txt", []byte("b"))
		if _, err := w.Upload(grid, "c.txt", strings.NewReader("c")); errs.KindOf(err) != errs.KindTooMany {
			t.Errorf("third waiting upload: %v", err)
		}
		w.upload(as(t.Context(), "other"), "c.txt", []byte("c"))
		d.Clock.Advance(25 * time.Hour)
		w.upload(grid, "c.txt", []byte("c"))
		if left, err := os.ReadDir(spool); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	})
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestExpiry(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		w := open(t, d, file.Config{})
		grid := as(t.Context(), "grid", "box.view")
		kept := w.upload(grid, "kept.jpg", jpegOf(photo(1, 50, 50), 90))
		w.mustAttach(grid, "b1", kept.ID)
		shared := w.upload(grid, "again.jpg", jpegOf(photo(1, 50, 50), 90))
		late := w.upload(grid, "late.jpg", jpegOf(photo(2, 50, 50), 90))
		if n := w.objects(); n != 6 {
			t.Fatalf("%d objects: the same content must lie there once", n)
		}
		d.Clock.Advance(23 * time.Hour)
		if s, err := w.Sweep(t.Context()); err != nil || s != (file.Swept{}) {
			t.Errorf("swept too early: %+v, %v", s, err)
		}
		d.Clock.Advance(time.Hour)
		if err := w.attach(grid, "b2", late.ID); code(err) != "file.noUpload" {
			t.Errorf("attached after its time: %v", err)
		}
		if _, err := w.read(grid, late.ID, file.Shown); code(err) != "file.notFound" {
			t.Errorf("opened after its time: %v", err)
		}
		if s, err := w.Sweep(t.Context()); err != nil || s != (file.Swept{Uploads: 2, Blobs: 1, Objects: 1}) {
			t.Errorf("swept %+v, %v", s, err)
		}
		if n := w.objects(); n != 3 || w.count("SELECT count(*) FROM file_garbage") != 0 {
			t.Errorf("%d objects left", n)
		}
		w.mustRead(grid, kept.ID, file.Shown)
		_ = shared
		again := w.upload(grid, "late.jpg", jpegOf(photo(2, 50, 50), 90))
		w.mustRead(grid, again.ID, file.Small)
	})
}

// Uploads of few contents beside sweeps that find everything expired: whatever an upload returned can be attached and read.
func TestUploadBesideSweep(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		w := open(t, d, file.Config{Keep: 30 * time.Hour})
		grid := as(t.Context(), "grid", "box.view")
		ctx, stop := context.WithCancel(t.Context())
		var sweepers, uploaders sync.WaitGroup
		for range 2 {
			sweepers.Go(func() {
				for ctx.Err() == nil {
					d.Clock.Advance(70 * time.Minute) // more than the grace: every content that is not used may go
					if _, err := w.Sweep(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		attached := make(chan string, 1000)
		for n := range 4 {
			uploaders.Go(func() {
				for i := range 25 {
					body := []byte(fmt.Sprintf("content %d", i%3))
					u, err := w.Upload(grid, "a.txt", bytes.NewReader(body))
					if err != nil {
						t.Errorf("upload: %v", err)
						continue
					}
					if (i+n)%5 != 0 {
						continue
					}
					if err := w.attach(grid, "b1", u.ID); err == nil {
						attached <- u.ID
					} else if code(err) != "file.noUpload" { // the clock runs away: it may have expired
						t.Errorf("attach: %v", err)
					}
				}
			})
		}
		uploaders.Wait()
		stop()
		sweepers.Wait()
		close(attached)
		n := 0
		for id := range attached {
			n++
			if b, err := w.read(grid, id, file.Shown); err != nil || !bytes.HasPrefix(b, []byte("content")) {
				t.Errorf("attached file: %q, %v", b, err)
			}
		}
		if n == 0 {
			t.Error("nothing was attached")
		}
		d.Clock.Advance(100 * time.Hour)
		for range 2 {
			if _, err := w.Sweep(t.Context()); err != nil {
				t.Error(err)
			}
			d.Clock.Advance(100 * time.Hour)
		}
		used := w.count("SELECT count(DISTINCT hash) FROM file_attachment")
		if blobs, objects := w.count("SELECT count(*) FROM file_blob"), w.objects(); blobs != used || objects != used {
			t.Errorf("%d contents and %d objects for %d used ones", blobs, objects, used)
		}
	})
}

func TestSameContentAtOnce(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		w := open(t, d, file.Config{})
		body := jpegOf(photo(1, 200, 200), 90)
		var wg sync.WaitGroup
		for n := range 8 {
			wg.Go(func() {
				grid := as(t.Context(), fmt.Sprint("grid", n), "box.view")
				u, err := w.Upload(grid, "a.jpg", bytes.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				if err := w.attach(grid, "b1", u.ID); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := w.count("SELECT count(*) FROM file_blob"); n != 1 {
			t.Errorf("%d contents", n)
		}
		d.Clock.Advance(48 * time.Hour)
		if _, err := w.Sweep(t.Context()); err != nil || w.objects() != 3 {
			t.Errorf("%d objects, %v", w.objects(), err)
		}
	})
}

// An attachment that two requests fight for goes to one record.
func TestAttachOnce(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		w := open(t, d, file.Config{})
		grid := as(t.Context(), "grid", "box.view")
		u := w.upload(grid, "a.txt", []byte("hello"))
		var wg sync.WaitGroup
		var won sync.Map
		for n := range 6 {
			wg.Go(func() {
				if err := w.attach(grid, fmt.Sprint("b", n), u.ID); err == nil {
					won.Store(n, true)
				} else if code(err) != "file.noUpload" {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		n := 0
		won.Range(func(any, any) bool { n++; return true })
		if n != 1 || w.count("SELECT count(*) FROM file_attachment") != 1 {
			t.Errorf("attached %d times", n)
		}
		// What is rolled back leaves the upload waiting.
		v := w.upload(grid, "b.txt", []byte("b"))
		stop := errors.New("stop")
		err := d.Tx(grid, func(ctx context.Context) error {
			if err := w.attach(ctx, "b1", v.ID); err != nil {
				return err
			}
			return stop
		})
		if !errors.Is(err, stop) {
			t.Fatal(err)
		}
		w.mustAttach(grid, "b2", v.ID)
	})
}

func TestLostFiles(t *testing.T) {
	t.Parallel()
	w := open(t, kerneltest.Open(t, db.SQLite, parts...), file.Config{})
	grid := as(t.Context(), "grid", "box.view")
	body := jpegOf(photo(1, 500, 400), 90)
	u := w.upload(grid, "a.jpg", body)
	w.mustAttach(grid, "b1", u.ID)
	object := func(suffix string) string {
		found, _ := filepath.Glob(filepath.Join(w.dir, u.Hash[:2], u.Hash+"-????????????"+suffix))
		if len(found) != 1 {
			t.Fatalf("objects: %v", found)
		}
		return found[0]
	}
	// A lost thumbnail is made again.
	before := w.mustRead(grid, u.ID, file.Small)
	if err := os.Remove(object(".small.jpg")); err != nil {
		t.Fatal(err)
	}
	if after := w.mustRead(grid, u.ID, file.Small); !bytes.Equal(before, after) {
		t.Error("the thumbnail differs")
	}
	// An altered content is found, a lost one too, and mended by an upload of the same.
	if err := os.WriteFile(object(""), append([]byte("x"), body[1:]...), 0o600); err != nil {
		t.Fatal(err)
	}
	check := func() (problems []string) {
		if err := w.Check(t.Context(), func(hash, problem string) { problems = append(problems, problem) }); err != nil {
			t.Error(err)
		}
		return problems
	}
	if got := check(); len(got) != 1 || got[0] != "文件内容被改动" {
		t.Errorf("altered: %v", got)
	}
	if err := os.Remove(object("")); err != nil {
		t.Fatal(err)
	}
	if got := check(); len(got) != 1 || got[0] != "文件缺失" {
		t.Errorf("lost: %v", got)
	}
	if _, err := w.read(grid, u.ID, file.Shown); err == nil || errs.As(err) != nil {
		t.Errorf("a lost file is the program's fault: %v", err)
	}
	w.upload(grid, "b.jpg", body)
	if got := check(); len(got) != 0 {
		t.Errorf("mended: %v", got)
	}
}

func TestSimilar(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		w := open(t, d, file.Config{})
		grid := as(t.Context(), "grid", "box.view")
		img := photo(7, 1200, 900)
		put := func(box, name string, body []byte) string {
			u := w.upload(grid, name, body)
			w.mustAttach(grid, box, u.ID)
			return u.ID
		}
		original := jpegOf(img, 92)
		first := put("b1", "original.jpg", original)
		put("b1", "same record.jpg", jpegOf(img, 80))
		same := put("b2", "same file.jpg", original)
		put("b3", "saved again.jpg", jpegOf(img, 40))
		put("b4", "smaller.jpg", jpegOf(photo(7, 400, 300), 85))
		put("b5", "as png.png", pngOf(photo(7, 640, 480)))
		for seed := range uint64(40) {
			put(fmt.Sprint("other", seed), "other.jpg", jpegOf(photo(100+seed, 200, 150), 85))
		}
		plain := image.NewGray(image.Rect(0, 0, 100, 100))
		put("plain1", "plain.jpg", jpegOf(plain, 90))
		dark := put("plain2", "plain.png", pngOf(plain))

		got, err := w.SimilarTo(t.Context(), scope.All("test"), first)
		if err != nil {
			t.Fatal(err)
		}
		var boxes []string
		for _, m := range got {
			boxes = append(boxes, m.Attachment.RecordID)
			if m.Exact != (m.Attachment.ID == same) || m.Distance > file.NearDistance {
				t.Errorf("match %+v", m)
			}
		}
		if len(boxes) != 4 || boxes[0] != "b2" {
			t.Errorf("alike: %v", boxes)
		}
		if got, err := w.SimilarTo(t.Context(), scope.All("test"), dark); err != nil || len(got) != 0 {
			t.Errorf("plain pictures are alike: %v, %v", got, err)
		}
		if got, err := w.SimilarTo(t.Context(), scope.For(as(t.Context(), "x"), "box.view"), first); err != nil || len(got) != 0 {
			t.Errorf("outside of the scope: %v, %v", got, err)
		}
		// An upload is compared before it is attached.
		u := w.upload(grid, "again.jpg", jpegOf(img, 60))
		if got, err := w.SimilarTo(t.Context(), scope.All("test"), u.ID); err != nil || len(got) != 6 {
			t.Errorf("upload: %d alike, %v", len(got), err)
		}
	})
}

func TestSmallMemory(t *testing.T) {
	t.Parallel()
	w := open(t, kerneltest.Open(t, db.SQLite, parts...), file.Config{PictureMemory: 2 << 20})
	grid := as(t.Context(), "grid")
	small := w.upload(grid, "a.jpg", jpegOf(photo(1, 300, 200), 90))
	w.mustRead(grid, small.ID, file.Small)
	large := w.upload(grid, "b.jpg", jpegOf(photo(1, 1000, 1000), 90))
	if _, err := w.read(grid, large.ID, file.Small); code(err) != "file.noThumb" {
		t.Errorf("thumbnail of a picture that is too large to decode here: %v", err)
	}
	if large.Width != 1000 {
		t.Errorf("measures %d", large.Width)
	}
	w.mustRead(grid, large.ID, file.Shown)
}

// What a process left that was killed while it wrote: an object without a blob, a half written one, a thumbnail.
func TestAfterCrash(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		w := open(t, d, file.Config{})
		kept := w.upload(as(t.Context(), "grid"), "kept.txt", []byte("kept"))
		err := d.Tx(t.Context(), func(ctx context.Context) error {
			_, err := d.Conn(ctx).NewRaw("INSERT INTO file_garbage (object, remove_after) VALUES ('ab/abcd-1', ?)", d.Clock.Now().Add(time.Hour)).Exec(ctx)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(w.dir, "ab"), 0o700); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"abcd-1", "abcd-1.18a.tmp", "abcd-1.small.jpg"} {
			if err := os.WriteFile(filepath.Join(w.dir, "ab", name), []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := w.Sweep(t.Context()); err != nil || w.objects() != 4 {
			t.Errorf("%d objects while it may still be written, %v", w.objects(), err)
		}
		d.Clock.Advance(2 * time.Hour)
		if _, err := w.Sweep(t.Context()); err != nil || w.objects() != 1 {
			t.Errorf("%d objects, %v", w.objects(), err)
		}
		w.mustRead(as(t.Context(), "grid"), kept.ID, file.Shown)
	})
}

// A bucket that is no folder.
func TestOtherBucket(t *testing.T) {
	t.Parallel()
	bucket := memblob.OpenBucket(nil)
	defer bucket.Close()
	w := openBucket(t, kerneltest.Open(t, db.SQLite, parts...), file.Config{}, bucket, "")
	grid := as(t.Context(), "grid", "box.view")
	body := withExif(jpegOf(photo(1, 500, 400), 90), 1)
	u := w.upload(grid, "a.jpg", body)
	if got := w.mustRead(grid, u.ID, file.Original); !bytes.Equal(got, body) {
		t.Error("bytes differ")
	}
	w.mustRead(grid, u.ID, file.Small)
	w.db.Clock.Advance(25 * time.Hour)
	if s, err := w.Sweep(t.Context()); err != nil || s != (file.Swept{Uploads: 1, Blobs: 1, Objects: 1}) {
		t.Errorf("swept %+v, %v", s, err)
	}
	if o, err := bucket.List(nil).Next(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("left: %v, %v", o, err)
	}
}

func TestGuardTwice(t *testing.T) {
	t.Parallel()
	w := open(t, kerneltest.Open(t, db.SQLite, parts...), file.Config{})
	for what, f := range map[string]func(){
		"second guard":   func() { w.Guard("box.item", func(context.Context, string, string) error { return nil }) },
		"attach outside": func() { w.Attach(t.Context(), file.AttachInput{RecordType: "box.item"}) },
		"upload inside": func() {
			w.db.Tx(t.Context(), func(ctx context.Context) error { _, err := w.Upload(ctx, "a", nil); return err })
		},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s does not panic", what)
				}
			}()
			f()
		}()
	}
}

func FuzzUpload(f *testing.F) {
	good := withExif(jpegOf(photo(1, 40, 30), 70), 6)
	movie := bytes.Join([][]byte{ftyp("qt  "), box("moov", box("udta", []byte("x")), box("trak", box("meta", []byte("x")))), box("mdat", []byte("x"))}, nil)
	heic := append(ftyp("heic"), box("meta", []byte{0, 0, 0, 0}, box("iinf", []byte{0, 0, 0, 0, 0, 1}, box("infe", []byte{2, 0, 0, 0, 0, 9, 0, 0}, []byte("Exif\x00"))),
		box("iloc", []byte{0, 0, 0, 0, 0x44, 0, 0, 1, 0, 9, 0, 0, 0, 1, 0, 0, 0, 20, 0, 0, 0, 10}))...)
	for _, b := range [][]byte{good, pngOf(photo(1, 20, 20)), docx(), movie, heic, []byte("RIFF\x10\x00\x00\x00WEBPVP8 "), []byte("text")} {
		f.Add(b)
	}
	w := open(f, kerneltest.Open(f, db.SQLite, parts...), file.Config{MaxWaiting: 1 << 40})
	grid := as(f.Context(), "grid")
	f.Fuzz(func(t *testing.T, body []byte) {
		u, err := w.Upload(grid, "a.txt", bytes.NewReader(body))
		if err != nil {
			if errs.As(err) == nil {
				t.Fatal(err)
			}
			return
		}
		b, err := w.read(grid, u.ID, file.Shown)
		if err != nil || len(b) != len(body) {
			t.Fatalf("%d of %d bytes, %v", len(b), len(body), err)
		}
	})
}

func BenchmarkUploadPhoto(b *testing.B) {
	w := open(b, kerneltest.Open(b, db.SQLite, parts...), file.Config{MaxWaiting: 1 << 40})
	grid := as(b.Context(), "grid")
	img := photo(1, 4000, 3000)
	body := jpegOf(img, 85)
	b.SetBytes(int64(len(body)))
	n := 0
	for b.Loop() {
		n++
		w.upload(grid, "a.jpg", withSegment(body, 0xfe, []byte(fmt.Sprint(n))))
	}
}

func BenchmarkSimilar(b *testing.B) {
	w := open(b, kerneltest.Open(b, db.SQLite, parts...), file.Config{})
	grid := as(b.Context(), "grid", "box.view")
	u := w.upload(grid, "a.jpg", jpegOf(photo(1, 400, 300), 85))
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		err := w.db.Tx(b.Context(), func(ctx context.Context) error {
			for range 1000 {
				h := rnd.Uint64()
				if _, err := w.db.Conn(ctx).NewRaw(`INSERT INTO file_blob (hash, object, size, mime, width, height, thumbs, hidden, print, print0, print1, print2, print3, created_at, used_at)
					VALUES (?, '', 0, '', 0, 0, TRUE, '[]', ?, ?, ?, ?, ?, '', '')`, w.db.Clock.NewID(), fmt.Sprintf("%016x", h), h&0xffff, h>>16&0xffff, h>>32&0xffff, h>>48).Exec(ctx); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if _, err := w.SimilarTo(b.Context(), scope.All("benchmark"), u.ID); err != nil {
			b.Fatal(err)
		}
	}
}
