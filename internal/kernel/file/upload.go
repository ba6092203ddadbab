package file

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
)

// Uploaded is a file that was taken in and waits to be attached.
type Uploaded struct {
	ID        string    `json:"id" doc:"上传标识，提交记录时带上它"`
	Name      string    `json:"name" doc:"整理后的文件名"`
	Hash      string    `json:"hash" doc:"原件的 SHA-256，十六进制"`
	Size      int64     `json:"size"`
	MIME      string    `json:"mime" doc:"由内容判定的类型"`
	Width     int       `json:"width" doc:"图片显示时的宽，像素"`
	Height    int       `json:"height"`
	ExpiresAt time.Time `json:"expiresAt" doc:"到时仍未随记录提交，文件将被清除"`
}

// Upload takes a file in for the actor in ctx, who alone can see it until it is attached. The bytes are streamed to disk; errors that
// concern the file itself are invalid errs.Errors. It must not be called inside a transaction.
func (s *Store) Upload(ctx context.Context, name string, r io.Reader) (*Uploaded, error) {
	if s.db.InTx(ctx) {
		panic("file: Upload inside a transaction")
	}
	a, err := who(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.mayWait(ctx, a); err != nil {
		return nil, err
	}
	spool, remove, err := s.spool()
	if err != nil {
		return nil, err
	}
	defer remove()
	t, c, err := s.receive(spool, name, r)
	if err != nil {
		return nil, err
	}
	known, err := s.content(ctx, c.Hash)
	if err != nil {
		return nil, err
	}
	var made *thumbs
	if known != nil {
		c, t = known, typeOf(known.MIME)
	} else {
		if t == typeZip {
			if t, err = sniffZip(spool, c.Size); err != nil {
				return nil, err
			}
		}
		c.MIME = t.mime
		if made, err = s.readPicture(ctx, c, t, spool); err != nil {
			return nil, err
		}
		c.setPrint()
	}
	u := &upload{ID: s.db.Clock.NewID(), Hash: c.Hash, Name: cleanName(name, t), Uploader: a.ID}
	if err := s.keep(ctx, u, c, spool, made); err != nil {
		return nil, err
	}
	return &Uploaded{ID: u.ID, Name: u.Name, Hash: c.Hash, Size: c.Size, MIME: c.MIME, Width: c.Width, Height: c.Height, ExpiresAt: u.ExpiresAt}, nil
}

func (s *Store) mayWait(ctx context.Context, a *actor.Actor) error {
	var n int
	err := s.db.Conn(ctx).NewRaw("SELECT count(*) FROM file_upload WHERE uploader = ? AND expires_at > ?", a.ID, s.db.Clock.Now()).Scan(ctx, &n)
	if err == nil && n >= s.cfg.MaxWaiting && a.Kind != actor.System {
		return errs.TooMany("file.tooMany", "您已上传而未提交的文件太多，请先提交记录，或明天再传。", time.Hour)
	}
	return err
}

// spool makes a file for an upload in progress, which vanishes with the process.
func (s *Store) spool() (*os.File, func(), error) {
	f, err := os.CreateTemp(s.cfg.Spool, "anwang-upload-*")
	if err != nil {
		return nil, nil, storeError(err)
	}
	gone := os.Remove(f.Name()) == nil // an open file stays usable where the system knows unlinked files
	return f, func() {
		f.Close() //nolint:errcheck // only read from
		if !gone {
			os.Remove(f.Name()) //nolint:errcheck // nothing more can be done
		}
	}, nil
}

// receive copies r to the spool file, and stops as soon as it is known to be of no accepted type or too large for its type.
func (s *Store) receive(spool *os.File, name string, r io.Reader) (*filetype, *content, error) {
	src := &source{r: r}
	head := make([]byte, headSize)
	n, _ := io.ReadFull(src, head)
	if src.err != nil {
		return nil, nil, src.err
	}
	t, err := sniff(head[:n], name)
	if err != nil {
		return nil, nil, err
	}
	limit := [...]int64{s.cfg.ImageLimit, s.cfg.DocumentLimit, s.cfg.AudioLimit, s.cfg.VideoLimit}[t.class]
	sum := sha256.New()
	size, err := io.Copy(io.MultiWriter(spool, sum), io.LimitReader(io.MultiReader(bytes.NewReader(head[:n]), src), limit+1))
	switch {
	case src.err != nil:
		return nil, nil, src.err
	case err != nil:
		return nil, nil, storeError(err)
	case size > limit:
		return nil, nil, errs.Invalid("file.tooLarge", fmt.Sprintf("%s不能超过%dMB，请压缩后再上传。", classTitles[t.class], limit/mib))
	}
	return t, &content{Hash: hex.EncodeToString(sum.Sum(nil)), Size: size}, nil
}

// source tells a failing client from a failing disk.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	var tooMuch *http.MaxBytesError
	switch {
	case errors.As(err, &tooMuch):
		s.err = errs.Invalid("file.tooLarge", fmt.Sprintf("一次上传不能超过%dMB，请压缩后再上传。", tooMuch.Limit/mib)).Because(err)
	case err != nil && !errors.Is(err, io.EOF):
		s.err = errs.Invalid("file.interrupted", "上传中断，请检查网络后重新上传。").Because(err)
	}
	return n, err
}

var errRaced = errors.New("file: the content was removed meanwhile")

// keep stores the content unless it is there, and the upload that uses it.
func (s *Store) keep(ctx context.Context, u *upload, c *content, body io.ReaderAt, made *thumbs) error {
	for try := 0; ; try++ {
		err := s.keepOnce(ctx, u, c, body, made)
		if !errors.Is(err, errRaced) || try == 5 {
			return err
		}
		// The sweep was faster: write it anew, under a new name. It may have come before our object did, so note that one again.
		object := c.Object
		if err := s.db.Tx(ctx, func(ctx context.Context) error { return s.discard(ctx, object, s.db.Clock.Now()) }); err != nil {
			return err
		}
		c.Object = ""
	}
}

func (s *Store) keepOnce(ctx context.Context, u *upload, c *content, body io.ReaderAt, made *thumbs) error {
	fresh := c.Object == ""
	if fresh {
		id := s.db.Clock.NewID()
		c.Object = c.Hash[:2] + "/" + c.Hash + "-" + id[len(id)-12:]
		if err := s.db.Tx(ctx, func(ctx context.Context) error { return s.discard(ctx, c.Object, s.db.Clock.Now().Add(s.cfg.Keep)) }); err != nil {
			return err
		}
	}
	lost := false
	if !fresh {
		there, err := s.bucket.Exists(ctx, c.Object)
		if err != nil {
			return storeError(err)
		}
		lost = !there // a restored database without its files is mended by whoever has the file
	}
	if fresh || lost {
		err := s.put(ctx, c.Object, c.MIME, io.NewSectionReader(body, 0, c.Size))
		if err == nil {
			err = s.putThumbs(ctx, c, made)
		}
		if notThere(err) {
			return errRaced // the sweep removed the half written object
		}
		if err != nil {
			return err
		}
	}
	return s.db.Tx(ctx, func(ctx context.Context) error {
		now := s.db.Clock.Now()
		u.CreatedAt, u.ExpiresAt = now, now.Add(s.cfg.Keep)
		first := false
		if fresh {
			c.CreatedAt, c.UsedAt = now, now
			n, err := affected(s.db.Conn(ctx).NewInsert().Model(c).On("CONFLICT (hash) DO NOTHING").Exec(ctx))
			if err != nil {
				return fmt.Errorf("store file: %w", err)
			}
			first = n == 1
		}
		// Either our object becomes the content's, or the content that is there is marked as used, which keeps the sweep away from it.
		var claim int64
		var err error
		switch {
		case first:
			claim, err = affected(s.db.Conn(ctx).NewRaw("DELETE FROM file_garbage WHERE object = ? AND remove_after <> ''", c.Object).Exec(ctx))
		case fresh: // somebody else was first; our object is garbage, also if a sweep has come before it
			if err := s.discard(ctx, c.Object, now); err != nil {
				return err
			}
			claim, err = affected(s.db.Conn(ctx).NewRaw("UPDATE file_blob SET used_at = ? WHERE hash = ?", now, c.Hash).Exec(ctx))
		default:
			claim, err = affected(s.db.Conn(ctx).NewRaw("UPDATE file_blob SET used_at = ? WHERE hash = ? AND object = ?", now, c.Hash, c.Object).Exec(ctx))
		}
		if err != nil {
			return fmt.Errorf("store file: %w", err)
		}
		if claim == 0 {
			return errRaced
		}
		_, err = s.db.Conn(ctx).NewInsert().Model(u).Exec(ctx)
		return err
	})
}

func (s *Store) putThumbs(ctx context.Context, c *content, made *thumbs) error {
	if made == nil {
		return nil
	}
	if err := s.put(ctx, thumbKey(c.Object, Small), thumbMIME, bytes.NewReader(made.small)); err != nil {
		return err
	}
	return s.put(ctx, thumbKey(c.Object, Large), thumbMIME, bytes.NewReader(made.large))
}

// discard notes an object that belongs to no content and may be removed after a moment.
func (s *Store) discard(ctx context.Context, object string, after time.Time) error {
	_, err := s.db.Conn(ctx).NewRaw(`INSERT INTO file_garbage (object, remove_after) VALUES (?, ?)
		ON CONFLICT (object) DO UPDATE SET remove_after = excluded.remove_after`, object, after).Exec(ctx)
	return err
}

// AttachInput says on which record uploads are hung.
type AttachInput struct {
	RecordType string      // "hiddendanger.item": must have a guard
	RecordID   string      //
	Slot       string      // "photo", "receipt": what the file is for the record; may be empty
	Place      scope.Place // the record's
	IDs        []string    // of uploads of the actor
}

// Attach hangs uploads on a record, in the transaction that ctx is in: it panics outside one. Only the uploader may attach a file. An
// upload that already hangs on the same record and slot is returned as it is, so that a request may be repeated; one that hangs elsewhere, has expired,
// or is another's is an invalid errs.Error. The order of the result is that of IDs.
func (s *Store) Attach(ctx context.Context, in AttachInput) ([]*Attachment, error) {
	if !s.db.InTx(ctx) {
		panic("file: Attach outside a transaction")
	}
	if s.guards[in.RecordType] == nil {
		panic("file: no guard for " + in.RecordType)
	}
	a, err := who(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]*Attachment, len(in.IDs))
	for i, id := range in.IDs {
		if out[i], err = s.attachOne(ctx, a, in, id); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *Store) attachOne(ctx context.Context, a *actor.Actor, in AttachInput, id string) (*Attachment, error) {
	gone := errs.Invalid("file.noUpload", "附件已过期或不存在，请重新上传。")
	var us []upload
	q := "DELETE FROM file_upload WHERE id = ? AND (uploader = ? OR ?) RETURNING *" // takes it: nobody else can attach it too
	if err := s.db.Conn(ctx).NewRaw(q, id, a.ID, a.Kind == actor.System).Scan(ctx, &us); err != nil {
		return nil, fmt.Errorf("attach %s: %w", id, err)
	}
	if len(us) == 0 {
		done, err := s.attached.Load(ctx, scope.All("only compared with the record that is being written"), id)
		if err != nil {
			if errs.KindOf(err) == errs.KindNotFound {
				return nil, gone
			}
			return nil, err
		}
		if done.RecordType == in.RecordType && done.RecordID == in.RecordID && done.Slot == in.Slot && done.Uploader == a.ID && done.State == Attached {
			return done, nil
		}
		return nil, gone
	}
	u := us[0]
	if !u.ExpiresAt.After(s.db.Clock.Now()) {
		return nil, gone
	}
	c, err := s.content(ctx, u.Hash)
	if err != nil {
		return nil, err
	}
	if c == nil {
		return nil, fmt.Errorf("attach %s: content %s is missing", id, u.Hash)
	}
	r := &Attachment{Place: in.Place, RecordType: in.RecordType, RecordID: in.RecordID, Slot: in.Slot, Name: u.Name, Hash: c.Hash, Size: c.Size,
		MIME: c.MIME, Width: c.Width, Height: c.Height, Uploader: u.Uploader, UploaderName: a.Name, UploadedAt: u.CreatedAt, State: Attached}
	r.ID = u.ID
	return r, s.attached.Insert(ctx, r, record.Change{Fact: "file.attached", Title: "添加附件"})
}

// Remove takes an attachment off its record's list, in the transaction that ctx is in; row and content stay as evidence. Whether the actor may is the
// module's to decide, before it calls. An attachment of another record is not found.
func (s *Store) Remove(ctx context.Context, recordType, recordID, id, reason string) error {
	reason = strings.TrimSpace(reason)
	if reason == "" || utf8.RuneCountInString(reason) > 200 {
		return errs.InvalidField("file.reason", "/reason", "请填写移除附件的原因，200字以内。")
	}
	r, err := s.attached.Load(ctx, scope.All("the module has decided that the actor may"), id)
	if err != nil {
		return err
	}
	if r.RecordType != recordType || r.RecordID != recordID || r.State != Attached {
		return attachmentType.NotFound()
	}
	r.State, r.Reason = Removed, reason
	return s.attached.Update(ctx, r, record.Change{Fact: "file.removed", Title: "移除附件"})
}
