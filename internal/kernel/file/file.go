// Package file keeps attachments: photos, documents, recordings, each hanging on a record.
//
// # What is stored
//
// Contents lie in a bucket, each once under its SHA-256, whatever it is called and however often it is uploaded. The bytes are kept
// exactly as they came, because they are evidence. What a file is, is found in the bytes: the name's ending and what the client
// says about it count for nothing, and what is not on the short list of types is refused.
//
// # A file's life
//
// [Store.Upload] takes a file in; it belongs to its uploader alone and goes after a day. [Store.Attach], in the transaction
// in which a module writes a record, hangs it there; from then on the attachment is a record too, in the log, and seen by whoever
// the record type's [Guard] lets see that record. [Store.Remove] takes it off the record's list and keeps the evidence.
//
// # Private particulars
//
// A phone writes into a photo where and when it was taken, with which device, and more. [Store.Open] shows the bytes with all that
// blanked, the same length, so that ranges work; the original bytes are for the uploader and for holders of the permission ViewOriginal, and
// each look of the latter is in the log. Blanked are: everything but picture and colour profile in JPEG, with what is appended to it; text
// and EXIF chunks of PNG and WebP; EXIF and XMP of HEIC; user data and metadata of MP4 and MOV. GIF, PDF, Office
// documents and sound are shown as they are.
//
// # Safe against races and crashes
//
// Objects are named in the database before they are written, by names that are never used again, and are on disk before a row points at them. So the
// sweep needs no listing of the bucket and no lock: an object without a blob is in file_garbage, and a blob that an upload has just
// used is not removed under it.
//
// # Known weakness
//
// HEIC is kept but not decoded: no thumbnail, no fingerprint. A sound file's or a video's content is not examined beyond its frame.
package file

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"time"

	"github.com/uptrace/bun"
	"gocloud.dev/blob"
	"golang.org/x/sync/semaphore"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
)

//go:embed migrations/*.sql
var files embed.FS

// Migrations makes the tables of this package.
var Migrations = db.Migrations{Part: "file", Files: files}

// ViewOriginal is the permission to open a photo with its private particulars: place, time and device.
const ViewOriginal = "file.original"

// Config says what is taken in. Zero fields take the default.
type Config struct {
	ImageLimit    int64         // bytes of one image; default 20 MiB
	DocumentLimit int64         // bytes of one document; default 50 MiB
	AudioLimit    int64         // bytes of one sound; default 100 MiB
	VideoLimit    int64         // bytes of one video; default 500 MiB
	Keep          time.Duration // how long an upload waits to be attached; default 24 h
	MaxWaiting    int           // how many uploads of one person may wait; default 200
	PictureMemory int64         // bytes that decoding of all pictures together may take; default 512 MiB
	Spool         string        // folder for uploads in progress; default the system's
}

const mib = 1 << 20

func (c Config) withDefaults() Config {
	or(&c.ImageLimit, 20*mib)
	or(&c.DocumentLimit, 50*mib)
	or(&c.AudioLimit, 100*mib)
	or(&c.VideoLimit, 500*mib)
	or(&c.Keep, 24*time.Hour)
	or(&c.MaxWaiting, 200)
	or(&c.PictureMemory, 512*mib)
	or(&c.Spool, os.TempDir())
	return c
}

func or[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Guard says whether the actor in ctx may see the record: nil, or an error. A module registers one for each of its record types that may have
// attachments; usually it loads the record in the scope of its view permission.
type Guard func(ctx context.Context, recordType, recordID string) error

// Store is the attachments of one installation. It is safe for concurrent use.
type Store struct {
	db       *db.DB
	bucket   *blob.Bucket
	cfg      Config
	log      *slog.Logger
	attached *record.Store[Attachment, *Attachment]
	guards   map[string]Guard
	memory   *semaphore.Weighted
}

// New returns the attachments whose contents lie in bucket: see OpenFolder for a folder on this machine.
func New(d *db.DB, log *audit.Log, reg *record.Registry, bucket *blob.Bucket, cfg Config, logger *slog.Logger) *Store {
	cfg = cfg.withDefaults()
	return &Store{db: d, bucket: bucket, cfg: cfg, log: logger, guards: map[string]Guard{},
		attached: record.NewStore[Attachment](d, log, reg, attachmentType), memory: semaphore.NewWeighted(cfg.PictureMemory)}
}

var attachmentType = record.Type{Name: "file.attachment", Title: "附件"}

// Guard registers who may see the attachments of records of a type. It is called while the program is put together and panics on a type
// that is taken. Attachments of a type without a guard are seen by nobody.
func (s *Store) Guard(recordType string, g Guard) {
	if s.guards[recordType] != nil {
		panic("file: two guards of " + recordType)
	}
	s.guards[recordType] = g
}

// Attachment is a file that hangs on a record. It is itself a record and lies where that record lies.
type Attachment struct {
	bun.BaseModel `bun:"table:file_attachment,alias:r" json:"-"`
	record.Head
	scope.Place

	RecordType   string    `bun:"record_type" json:"recordType" doc:"所属记录的类型"`
	RecordID     string    `bun:"record_id" json:"recordId" doc:"所属记录的标识"`
	Slot         string    `bun:"slot" json:"slot" doc:"在记录中的用途，如 photo、receipt"`
	Name         string    `bun:"name" json:"name" doc:"文件名"`
	Hash         string    `bun:"hash" json:"hash" doc:"原件的 SHA-256，十六进制"`
	Size         int64     `bun:"size" json:"size" doc:"字节数"`
	MIME         string    `bun:"mime" json:"mime" doc:"由内容判定的类型"`
	Width        int       `bun:"width" json:"width" doc:"图片显示时的宽，像素；0 表示不是图片"`
	Height       int       `bun:"height" json:"height"`
	Uploader     string    `bun:"uploader" json:"uploader" doc:"上传者账号标识"`
	UploaderName string    `bun:"uploader_name" json:"uploaderName"`
	UploadedAt   time.Time `bun:"uploaded_at" json:"uploadedAt"`
	State        State     `bun:"state" json:"state" enum:"attached,removed"`
	Reason       string    `bun:"reason" json:"reason" doc:"移除原因"`
}

// State says whether an attachment is on its record's list.
type State string

// The states of an attachment.
const (
	Attached State = "attached"
	Removed  State = "removed" // off the list; row and content stay as evidence
)

// upload is a file that waits to be attached.
type upload struct {
	bun.BaseModel `bun:"table:file_upload,alias:u"`
	ID            string    `bun:"id,pk"`
	Hash          string    `bun:"hash"`
	Name          string    `bun:"name"`
	Uploader      string    `bun:"uploader"`
	CreatedAt     time.Time `bun:"created_at"`
	ExpiresAt     time.Time `bun:"expires_at"`
}

// content is what is known about stored bytes.
type content struct {
	bun.BaseModel `bun:"table:file_blob,alias:b"`
	Hash          string    `bun:"hash,pk"`
	Object        string    `bun:"object"` // key in the bucket; thumbnails lie beside it, see thumbKey
	Size          int64     `bun:"size"`
	MIME          string    `bun:"mime"`
	Width         int       `bun:"width"`
	Height        int       `bun:"height"`
	Thumbs        bool      `bun:"thumbs"` // the picture can be decoded here
	TakenAt       time.Time `bun:"taken_at,nullzero"`
	Longitude     *float64  `bun:"longitude"`
	Latitude      *float64  `bun:"latitude"`
	Hidden        []patch   `bun:"hidden,type:text"`
	Print         string    `bun:"print"` // 16 hexadecimal digits; empty: none
	Print0        *int      `bun:"print0"`
	Print1        *int      `bun:"print1"`
	Print2        *int      `bun:"print2"`
	Print3        *int      `bun:"print3"`
	CreatedAt     time.Time `bun:"created_at"`
	UsedAt        time.Time `bun:"used_at"`
}

// Origin is where and when the device says that a photo was taken. It is the device's word, not proof.
type Origin struct {
	TakenAt   time.Time // zero: not said
	Placed    bool      // whether the device says where
	Longitude float64   // decimal degrees as the device wrote them, usually WGS-84
	Latitude  float64
}

func (c *content) origin() Origin {
	o := Origin{TakenAt: c.TakenAt}
	if c.Longitude != nil && c.Latitude != nil {
		o.Placed, o.Longitude, o.Latitude = true, *c.Longitude, *c.Latitude
	}
	return o
}

var errNoFile = errs.NotFound("file.notFound", "文件不存在，或您无权查看。")

// who is the account of the actor in ctx; nobody owns no files.
func who(ctx context.Context) (*actor.Actor, error) {
	a := actor.From(ctx)
	if a.Kind == actor.Nobody {
		return nil, errs.Unauthenticated("file.signIn", "请先登录再上传文件。")
	}
	return a, nil
}

// Of lists the attachments of a record that the record type's guard lets the actor see, in the order of uploading.
func (s *Store) Of(ctx context.Context, recordType, recordID string) ([]*Attachment, error) {
	if err := s.guarded(ctx, recordType, recordID); err != nil {
		return nil, err
	}
	return s.attached.Find(ctx, scope.All("the guard of the record type has let the actor see its record"), func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.record_type = ? AND r.record_id = ? AND r.state = ?", recordType, recordID, Attached).Order("r.id")
	})
}

// guarded asks the guard of the record type. Whatever it refuses does not exist for the actor.
func (s *Store) guarded(ctx context.Context, recordType, recordID string) error {
	guard := s.guards[recordType]
	if guard == nil {
		return errNoFile
	}
	switch err := guard(ctx, recordType, recordID); {
	case err == nil:
		return nil
	case errs.As(err) == nil, errs.KindOf(err) == errs.KindInternal, errs.KindOf(err) == errs.KindUnavailable:
		return fmt.Errorf("guard of %s: %w", recordType, err)
	default:
		return errNoFile.Because(err)
	}
}

// content loads what is known about stored bytes.
func (s *Store) content(ctx context.Context, hash string) (*content, error) {
	c := new(content)
	err := s.db.Conn(ctx).NewSelect().Model(c).Where("b.hash = ?", hash).Scan(ctx)
	if errors.Is(err, db.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("file %.12s: %w", hash, err)
	}
	return c, nil
}

// setPlace stores a position only when it is one.
func (c *content) setPlace(longitude, latitude float64) {
	if math.Abs(longitude) <= 180 && math.Abs(latitude) <= 90 && (longitude != 0 || latitude != 0) {
		c.Longitude, c.Latitude = &longitude, &latitude
	}
}
