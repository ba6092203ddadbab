package file

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/uptrace/bun"
	"gocloud.dev/blob"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
)

// Variant is a way of showing a file.
type Variant string

// The variants.
const (
	Shown    Variant = "shown"    // the file, with the private particulars of photos and videos blanked
	Small    Variant = "small"    // a JPEG of at most 320 pixels a side
	Large    Variant = "large"    // a JPEG of at most 1280 pixels a side
	Original Variant = "original" // the bytes as they came: for the uploader and for holders of ViewOriginal
)

const thumbMIME = "image/jpeg"

func thumbKey(object string, v Variant) string { return object + "." + string(v) + ".jpg" }

// Content is an opened file. Close it.
type Content struct {
	io.ReadSeekCloser

	Name     string
	MIME     string
	Size     int64
	Hash     string // SHA-256 of the original
	Modified time.Time

	variant Variant
	inline  bool
}

// Open opens the file with the id of an attachment or upload. An attachment is open to whoever its record type's guard lets see the record, an
// upload to its uploader; for everybody else it does not exist. A file without thumbnails has neither Small nor Large: not found. It must not be
// called inside a transaction.
func (s *Store) Open(ctx context.Context, id string, v Variant) (*Content, error) {
	f, err := s.find(ctx, id)
	if err != nil {
		return nil, err
	}
	c, err := s.content(ctx, f.hash)
	if err != nil {
		return nil, err
	}
	if c == nil {
		return nil, fmt.Errorf("file %s: content %s is missing", id, f.hash)
	}
	out := &Content{Name: f.name, MIME: c.MIME, Size: c.Size, Hash: c.Hash, Modified: f.at, variant: v, inline: typeOf(c.MIME).inline}
	switch v {
	case Shown, Original:
		if v == Original {
			if err := s.mayViewOriginal(ctx, f); err != nil {
				return nil, err
			}
		}
		r, err := s.bucket.NewReader(ctx, c.Object, nil)
		if err != nil {
			return nil, fmt.Errorf("file %s: %w", id, err)
		}
		out.ReadSeekCloser = r
		if v == Shown && len(c.Hidden) > 0 {
			out.ReadSeekCloser = &patched{ReadSeekCloser: r, patches: c.Hidden}
		}
	case Small, Large:
		r, err := s.openThumb(ctx, c, v)
		if err != nil {
			return nil, err
		}
		out.ReadSeekCloser, out.MIME, out.Size, out.inline = r, thumbMIME, r.Size(), true
		out.Name = cleanName(f.name, typeJPEG)
	default:
		return nil, errs.InvalidField("file.variant", "/variant", "没有这种显示方式，请用 shown、small、large 或 original。")
	}
	return out, nil
}

// OriginOf is where and when the device says that a photo was taken. It asks for what Open asks for the Original; modules that compare the position
// with a record's do so as the uploader, or as the system.
func (s *Store) OriginOf(ctx context.Context, id string) (Origin, error) {
	f, err := s.find(ctx, id)
	if err != nil {
		return Origin{}, err
	}
	if err := s.mayViewOriginal(ctx, f); err != nil {
		return Origin{}, err
	}
	c, err := s.content(ctx, f.hash)
	if err != nil || c == nil {
		return Origin{}, err
	}
	return c.origin(), nil
}

// found is an attachment or an upload that the actor may see.
type found struct {
	hash, name, uploader string
	at                   time.Time
	attachment           *Attachment // nil for an upload
}

func (s *Store) find(ctx context.Context, id string) (*found, error) {
	r, err := s.attached.First(ctx, scope.All("the guard of the record type decides below"), func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.id = ? AND r.state = ?", id, Attached)
	})
	if err != nil {
		return nil, err
	}
	if r != nil {
		if err := s.guarded(ctx, r.RecordType, r.RecordID); err != nil {
			return nil, err
		}
		return &found{r.Hash, r.Name, r.Uploader, r.UploadedAt, r}, nil
	}
	a := actor.From(ctx)
	if a.Kind == actor.Nobody {
		return nil, errNoFile
	}
	u := new(upload)
	err = s.db.Conn(ctx).NewSelect().Model(u).Where("u.id = ? AND u.uploader = ? AND u.expires_at > ?", id, a.ID, s.db.Clock.Now()).Scan(ctx)
	if errors.Is(err, db.ErrNoRows) {
		return nil, errNoFile
	}
	if err != nil {
		return nil, fmt.Errorf("file %s: %w", id, err)
	}
	return &found{u.Hash, u.Name, u.Uploader, u.CreatedAt, nil}, nil
}

// mayViewOriginal lets the uploader and the program pass; others need the permission, and their look is written into the log.
func (s *Store) mayViewOriginal(ctx context.Context, f *found) error {
	a := actor.From(ctx)
	if a.Kind == actor.System || a.Kind != actor.Nobody && a.ID == f.uploader {
		return nil
	}
	if f.attachment == nil || !scope.For(ctx, ViewOriginal).Sees(f.attachment.Place) {
		return errs.Forbidden("file.original", "原件含拍摄位置等个人信息，您没有查看原件的权限。")
	}
	return s.db.Tx(ctx, func(ctx context.Context) error {
		return s.attached.Note(ctx, f.attachment, record.Change{Fact: "file.originalViewed", Title: "查看附件原件"})
	})
}

var errNoThumb = errs.NotFound("file.noThumb", "该文件没有缩略图，请下载后查看。")

// openThumb opens a thumbnail, and makes it again when it is lost.
func (s *Store) openThumb(ctx context.Context, c *content, v Variant) (*blob.Reader, error) {
	if !c.Thumbs {
		return nil, errNoThumb
	}
	r, err := s.bucket.NewReader(ctx, thumbKey(c.Object, v), nil)
	if err == nil || !notThere(err) {
		return r, err
	}
	if err := s.remakeThumbs(ctx, c); err != nil {
		return nil, err
	}
	return s.bucket.NewReader(ctx, thumbKey(c.Object, v), nil)
}

func (s *Store) remakeThumbs(ctx context.Context, c *content) error {
	spool, remove, err := s.spool()
	if err != nil {
		return err
	}
	defer remove()
	if err := s.bucket.Download(ctx, c.Object, spool, nil); err != nil {
		return fmt.Errorf("thumbnail of %.12s: %w", c.Hash, err)
	}
	made, err := s.readPicture(ctx, &content{Hash: c.Hash, Size: c.Size}, typeOf(c.MIME), spool)
	if err != nil {
		return fmt.Errorf("thumbnail of %.12s: %w", c.Hash, err)
	}
	return s.putThumbs(ctx, c, made)
}

// Serve answers a request with the file: whole or in ranges, 304 when the client has it. It never lets the browser guess a type or run anything. download asks
// for saving instead of showing. The caller closes c.
func (c *Content) Serve(w http.ResponseWriter, r *http.Request, download bool) {
	kind := "attachment"
	if c.inline && !download {
		kind = "inline"
	}
	h := w.Header()
	h.Set("Content-Type", c.MIME)
	h.Set("Content-Disposition", Disposition(kind, c.Name))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "private, no-cache") // may be kept, but who may see it is asked each time
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("ETag", `"`+c.Hash[:32]+"-"+string(c.variant)+`"`)
	if c.MIME != typePDF.mime { // a sandbox keeps browsers from showing PDF
		h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	}
	http.ServeContent(w, r, "", c.Modified, c)
}

// patched shows a file with some stretches replaced.
type patched struct {
	io.ReadSeekCloser
	patches []patch
	at      int64
}

func (p *patched) Read(b []byte) (int, error) {
	n, err := p.ReadSeekCloser.Read(b)
	for _, h := range p.patches {
		h.apply(b[:n], p.at)
	}
	p.at += int64(n)
	return n, err
}

func (p *patched) Seek(offset int64, whence int) (int64, error) {
	at, err := p.ReadSeekCloser.Seek(offset, whence)
	if err == nil {
		p.at = at
	}
	return at, err
}

// apply replaces what of the patch lies in b, whose first byte is the file's byte number at.
func (h patch) apply(b []byte, at int64) {
	from, to := max(h.At, at), min(h.At+h.Size, at+int64(len(b)))
	for i := from; i < to; i++ {
		var c byte
		if j := i - h.At; j < int64(len(h.Fill)) {
			c = h.Fill[j]
		}
		b[i-at] = c
	}
}

// Check reads every stored content that an attachment uses, and calls found with each that is missing or no longer what it was. It is for the operator's
// verification and takes as long as reading all files takes.
func (s *Store) Check(ctx context.Context, bad func(hash, problem string)) error {
	for after := ""; ; {
		var page []content
		err := s.db.Conn(ctx).NewSelect().Model(&page).
			Where("b.hash > ? AND EXISTS (SELECT 1 FROM file_attachment AS r WHERE r.hash = b.hash)", after).Order("b.hash").Limit(100).Scan(ctx)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, c := range page {
			sum := sha256.New()
			switch err := s.bucket.Download(ctx, c.Object, sum, nil); {
			case notThere(err):
				bad(c.Hash, "文件缺失")
			case err != nil:
				return fmt.Errorf("check file %.12s: %w", c.Hash, err)
			case hex.EncodeToString(sum.Sum(nil)) != c.Hash:
				bad(c.Hash, "文件内容被改动")
			}
			after = c.Hash
		}
	}
}
