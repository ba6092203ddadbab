// Package errs is the one error type that may reach a person.
//
// An [Error] carries a stable code for programs, a [Kind] that alone decides the HTTP status, and a Chinese message that
// says what to do next. Its cause is for the log and never leaves the process. Everything that is not an Error is
// "internal": the person sees an incident number, the log sees the rest.
package errs

import (
	"errors"
	"fmt"
	"time"
)

// Kind says what sort of refusal an error is. The HTTP status follows from it and from nothing else.
type Kind uint8

// The eight kinds. The zero value is Internal, so that a forgotten kind is never shown as something milder.
const (
	KindInternal Kind = iota
	KindInvalid
	KindUnauthenticated
	KindForbidden
	KindNotFound
	KindConflict
	KindTooMany
	KindUnavailable
)

var kindNames = [...]string{"internal", "invalid", "unauthenticated", "forbidden", "notFound", "conflict", "tooMany", "unavailable"}

func (k Kind) String() string { return kindNames[k] }

// Field is one thing wrong with the input, at the place where it is wrong.
type Field struct {
	// Pointer is a JSON pointer into the request ("/enterprise/uscc"), or "row/12/uscc" for row 12 of a table file.
	Pointer string `json:"pointer"`
	// Message is Chinese and says what is expected.
	Message string `json:"message"`
}

// Error is an error that a person may see.
type Error struct {
	Code       string        // "hiddendanger.alreadyClosed": module and reason, never changed once published
	Kind       Kind          // decides the HTTP status
	Message    string        // Chinese, says what to do next
	Fields     []Field       // what is wrong where, may be empty
	RetryAfter time.Duration // for TooMany and Unavailable: when to try again
	cause      error
}

func (e *Error) Error() string {
	if e.cause != nil {
		return fmt.Sprintf("%s: %s: %v", e.Code, e.Message, e.cause)
	}
	return e.Code + ": " + e.Message
}

// Unwrap returns the cause, which is for the log only.
func (e *Error) Unwrap() error { return e.cause }

// Is reports whether target is an Error with the same code, so that errors.Is works on copies made by Because.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// Because returns a copy of e that carries its cause.
func (e *Error) Because(cause error) *Error {
	c := *e
	c.cause = cause
	return &c
}

// At returns a copy of e with one more field message. The pointer is a JSON pointer into the request.
func (e *Error) At(pointer, message string) *Error {
	c := *e
	c.Fields = append(append([]Field(nil), e.Fields...), Field{pointer, message})
	return &c
}

// Invalid says that the input is wrong and where.
func Invalid(code, message string, fields ...Field) *Error {
	return &Error{Code: code, Kind: KindInvalid, Message: message, Fields: fields}
}

// InvalidField is Invalid for the common case of one wrong field.
func InvalidField(code, pointer, message string) *Error {
	return Invalid(code, message, Field{pointer, message})
}

// Unauthenticated says that the caller must sign in first.
func Unauthenticated(code, message string) *Error {
	return &Error{Code: code, Kind: KindUnauthenticated, Message: message}
}

// Forbidden says that the caller may see the thing but not do this to it.
func Forbidden(code, message string) *Error {
	return &Error{Code: code, Kind: KindForbidden, Message: message}
}

// NotFound says that there is no such thing, or none within the caller's scope: the two look the same.
func NotFound(code, message string) *Error {
	return &Error{Code: code, Kind: KindNotFound, Message: message}
}

// Conflict says that the state of things does not allow it: a stale version, a taken name, a closed case.
func Conflict(code, message string) *Error {
	return &Error{Code: code, Kind: KindConflict, Message: message}
}

// TooMany says that a limit was reached and when it may be tried again.
func TooMany(code, message string, retryAfter time.Duration) *Error {
	return &Error{Code: code, Kind: KindTooMany, Message: message, RetryAfter: retryAfter}
}

// Unavailable says that a part is down for now.
func Unavailable(code, message string, retryAfter time.Duration) *Error {
	return &Error{Code: code, Kind: KindUnavailable, Message: message, RetryAfter: retryAfter}
}

// As finds the Error in err's chain. It returns nil when there is none.
func As(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return nil
}

// KindOf returns the kind of err: Internal for anything that is not an Error. err must not be nil.
func KindOf(err error) Kind {
	if e := As(err); e != nil {
		return e.Kind
	}
	return KindInternal
}
