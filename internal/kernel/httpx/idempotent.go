package httpx

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"time"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
)

//go:embed migrations/*.sql
var files embed.FS

// Migrations makes the table of answers that were given under an Idempotency-Key.
var Migrations = db.Migrations{Part: "httpx", Files: files}

// answer is a reply that is held back until its transaction is on disk.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header { return a.header }
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}
func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(b)
}

func (a *answer) send(w http.ResponseWriter) {
	for k, v := range a.header {
		w.Header()[k] = v
	}
	w.WriteHeader(a.status)
	w.Write(a.body.Bytes()) //nolint:errcheck // the caller went away
}

var errRefused = errors.New("the operation refused")

// idempotent makes a POST with an Idempotency-Key happen once: the work and the remembered answer are one transaction, so a repeat
// gets the same answer whether or not the first one arrived. A refusal is not remembered: the repeat is judged anew.
func (a *API) idempotent(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get("Idempotency-Key")
		_, pattern := a.mux.Handler(r)
		if key == "" || r.Method != http.MethodPost || a.detached[pattern] {
			next.ServeHTTP(w, r)
			return
		}
		if err := a.once(w, r, key, next); err != nil {
			writeProblem(w, problemOf(r.Context(), a.cfg.Log, err))
		}
	})
}

const maxKeyedBody = 4 << 20

func (a *API) once(w http.ResponseWriter, r *http.Request, key string, next http.Handler) error {
	if len(key) > 200 {
		return errs.Invalid("request.idempotencyKey", "Idempotency-Key 过长，最多 200 个字符。")
	}
	// The body is read before the transaction begins: a slow sender must not hold the writer.
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxKeyedBody))
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return fromHuma(http.StatusRequestEntityTooLarge, "")
		}
		return fromHuma(http.StatusBadRequest, "")
	}
	sum := sha256.New()
	io.WriteString(sum, r.Method+" "+r.URL.RequestURI()+"\n") //nolint:errcheck // a hash does not fail
	sum.Write(body)
	print := hex.EncodeToString(sum.Sum(nil))
	owner := actor.From(r.Context()).ID

	for {
		reply := &answer{header: http.Header{}}
		err := a.cfg.DB.Tx(r.Context(), func(ctx context.Context) error {
			found, err := a.remembered(ctx, owner, key, print, reply)
			if err != nil || found {
				return err
			}
			inner := r.WithContext(ctx)
			inner.Body = io.NopCloser(bytes.NewReader(body))
			next.ServeHTTP(reply, inner)
			if reply.status >= 400 {
				return errRefused
			}
			_, err = a.cfg.DB.Conn(ctx).NewRaw(`INSERT INTO httpx_answer (owner, key, request, at, status, content_type, body) VALUES (?, ?, ?, ?, ?, ?, ?)`,
				owner, key, print, a.cfg.DB.Clock.Now(), reply.status, reply.header.Get("Content-Type"), reply.body.Bytes()).Exec(ctx)
			return err
		})
		if _, taken := db.UniqueViolation(err); taken {
			continue // the same request arrived twice at once and the other was faster: give its answer
		}
		if err != nil && !errors.Is(err, errRefused) {
			return err
		}
		reply.send(w)
		return nil
	}
}

func (a *API) remembered(ctx context.Context, owner, key, print string, reply *answer) (bool, error) {
	var row struct {
		Request, ContentType string
		Status               int
		Body                 []byte
	}
	err := a.cfg.DB.Conn(ctx).NewRaw(`SELECT request, status, content_type, body FROM httpx_answer WHERE owner = ? AND key = ?`, owner, key).Scan(ctx, &row)
	if errors.Is(err, db.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if row.Request != print {
		return false, errs.Conflict("request.keyReused", "同一个 Idempotency-Key 已用于另一项提交，请更换后重试。")
	}
	reply.header.Set("Content-Type", row.ContentType)
	reply.header.Set("Idempotent-Replay", "true")
	reply.WriteHeader(row.Status)
	reply.body.Write(row.Body)
	return true, nil
}

// ForgetAnswers removes remembered answers that are older than age. A phone that was away for less than age still gets its answer.
func (a *API) ForgetAnswers(ctx context.Context, age time.Duration) error {
	return a.cfg.DB.Tx(ctx, func(ctx context.Context) error {
		_, err := a.cfg.DB.Conn(ctx).NewRaw(`DELETE FROM httpx_answer WHERE at < ?`, a.cfg.DB.Clock.Now().Add(-age)).Exec(ctx)
		return err
	})
}
