package tabular

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// maxRecord bounds the bytes of one CSV record; a missing closing quote makes a record of all the rest of the file.
const maxRecord = 4 << 20

func openText(file io.ReaderAt, size int64, opts Options) (*Reader, error) {
	enc, bom, err := detectEncoding(file, size)
	if err != nil {
		return nil, err
	}
	decode := func(r io.Reader) io.Reader { return transform.NewReader(r, enc.NewDecoder()) }
	content := func() io.Reader { return io.NewSectionReader(file, bom, size-bom) }
	if enc == encoding.Nop {
		decode = func(r io.Reader) io.Reader { return r }
	} else if err := refuseUndecodable(decode(content())); err != nil {
		return nil, err
	}
	delimiter, err := detectDelimiter(decode(content()))
	if err != nil {
		return nil, err
	}

	reader := &Reader{format: CSV, opts: opts, bytes: new(atomic.Int64), total: size - bom}
	if delimiter == '\t' {
		reader.format = TSV
	}
	m := &meter{r: content(), count: reader.bytes, left: maxRecord}
	records := csv.NewReader(decode(m))
	records.Comma = delimiter
	records.FieldsPerRecord = -1
	reader.source = &textSource{meter: m, records: records}
	return reader, nil
}

// detectEncoding reads the whole file once. A byte order mark decides. Without one, text that is valid UTF-8 to its
// end is UTF-8; all else is taken for GB18030, which contains GBK and GB 2312, what Excel in China writes.
func detectEncoding(file io.ReaderAt, size int64) (enc encoding.Encoding, bom int64, err error) {
	var t tally
	buf, carried := make([]byte, 64<<10), 0
	for at := int64(0); at < size; {
		n, err := file.ReadAt(buf[carried:min(int64(len(buf)), size-at+int64(carried))], at)
		if n == 0 && err != nil {
			return nil, 0, fmt.Errorf("read a table at byte %d: %w", at, err)
		}
		if at == 0 {
			switch head := string(buf[:min(n, 3)]); {
			case strings.HasPrefix(head, "\xff\xfe"):
				return unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM), 2, nil
			case strings.HasPrefix(head, "\xfe\xff"):
				return unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM), 2, nil
			case head == "\xef\xbb\xbf":
				bom = 3
			}
		}
		at += int64(n)
		rest := t.count(buf[:carried+n], at == size)
		carried = copy(buf, rest)
	}
	switch {
	case t.binary > 0:
		return nil, 0, unsupported("文件中有不是文字的内容，不是表格：请上传 .xlsx 或 .csv 文件")
	case t.invalid == 0 && (bom > 0 || t.doubtful == 0 || t.certain > 0):
		return encoding.Nop, bom, nil
	case bom > 0 || t.certain > 10*t.invalid:
		return nil, 0, damaged(fmt.Sprintf("文件是 UTF-8 编码，但有 %d 处文字损坏：请从来源处重新导出", t.invalid), nil)
	}
	return simplifiedchinese.GB18030, 0, nil
}

// tally counts what speaks for and against UTF-8.
type tally struct {
	binary   int // bytes that no text has
	invalid  int // bytes that are not UTF-8
	certain  int // characters that GBK text does not produce by chance: CJK and others of three bytes, Latin-1 signs
	doubtful int // characters of two bytes, whose bytes may as well be one Chinese character of GBK
}

// count takes in a piece of the file and returns what is left of a character cut off at its end.
func (t *tally) count(p []byte, last bool) (rest []byte) {
	for len(p) > 0 {
		if c := p[0]; c < utf8.RuneSelf {
			if c == 0 {
				t.binary++
			}
			p = p[1:]
			continue
		}
		if !last && !utf8.FullRune(p) {
			return p
		}
		r, n := utf8.DecodeRune(p)
		switch {
		case r == utf8.RuneError && n == 1:
			t.invalid++
		case n == 2 && r >= 0x100:
			t.doubtful++
		default:
			t.certain++
		}
		p = p[n:]
	}
	return nil
}

// refuseUndecodable decodes all of r and refuses it if there is a character that the encoding does not know: better no
// import than one of garbled names.
func refuseUndecodable(r io.Reader) error {
	buf, tail := make([]byte, 64<<10), ""
	for {
		n, err := r.Read(buf)
		chunk := tail + string(buf[:n])
		if strings.Contains(chunk, "\ufffd") {
			return unsupported("无法识别文件的文字编码，读出来会是乱码：" + saveAs)
		}
		tail = chunk[max(0, len(chunk)-2):]
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("decode a table: %w", err)
		}
	}
}

// detectDelimiter counts the candidates outside quotes in the first lines.
func detectDelimiter(r io.Reader) (rune, error) {
	head, err := io.ReadAll(io.LimitReader(r, 64<<10))
	if err != nil {
		return 0, fmt.Errorf("read the head of a table: %w", err)
	}
	count, quoted, lines := map[rune]int{}, false, 0
	for _, c := range string(head) {
		switch {
		case c == '"':
			quoted = !quoted
		case c == '\n' && !quoted:
			lines++
		case !quoted:
			count[c]++
		}
		if lines == 20 {
			break
		}
	}
	best := ','
	for _, c := range "\t;|" {
		if count[c] > count[best] {
			best = c
		}
	}
	return best, nil
}

type textSource struct {
	meter   *meter
	records *csv.Reader
	row     int // number of the last record
	line    int // its last line; a record with line breaks in quotes has several, and is one row on the screen
}

func (s *textSource) next() (Row, error) {
	s.meter.left = maxRecord
	cells, err := s.records.Read()
	var parse *csv.ParseError
	switch {
	case err == io.EOF:
		return Row{}, io.EOF
	case errors.As(err, &parse):
		row := s.row + max(1, parse.StartLine-s.line)
		return Row{}, &Error{row, 0, "双引号不成对：含双引号的内容要整格用双引号括起，其中的双引号写两个；也可以另存为 .xlsx 再上传", ErrDamaged, err}
	case errors.Is(err, errPieceTooLong):
		return Row{}, &Error{s.row + 1, 0, "这一行过长，可能少了一个双引号：请检查，或另存为 .xlsx 再上传", ErrTooLarge, err}
	case err != nil:
		return Row{}, fmt.Errorf("read a table after row %d: %w", s.row, err)
	}
	first, _ := s.records.FieldPos(0)
	s.row += first - s.line // the csv package skips empty lines, the screen does not
	s.line = first
	for i, cell := range cells {
		s.line += strings.Count(cell, "\n")
		cells[i] = unguard(cell)
	}
	return Row{s.row, cells}, nil
}
