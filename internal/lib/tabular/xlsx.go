package tabular

import (
	"archive/zip"
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"strconv"
	"strings"
	"sync/atomic"
)

const (
	maxDirectory = 2 << 20  // bytes that may be read to list the parts of a zip file
	maxSmallPart = 32 << 20 // bytes of the workbook and style parts
	ratioMatters = 16 << 20 // an unpacked size up to which any ratio is harmless
	xmlSlack     = 64 << 10 // bytes of one XML token beyond the text of a cell: attributes, read-ahead
)

func openXLSX(file io.ReaderAt, size int64, opts Options) (*Reader, error) {
	book, err := openPackage(file, size, opts)
	if err != nil {
		return nil, err
	}
	if err := book.readWorkbook(); err != nil {
		return nil, err
	}
	sheet, err := book.choose(opts.Sheet)
	if err != nil {
		return nil, err
	}
	reader := &Reader{format: XLSX, sheet: sheet.name, opts: opts, bytes: new(atomic.Int64)}
	for _, s := range book.sheets {
		if !s.hidden {
			reader.sheets = append(reader.sheets, s.name)
		}
	}
	source := &sheetSource{book: book}
	if source.styles, err = book.readStyles(); err != nil {
		return nil, err
	}
	if source.strings, err = book.readStrings(); err != nil {
		return nil, err
	}
	part, err := book.open(sheet.part)
	if err != nil {
		return nil, err
	}
	reader.total = int64(book.parts[partKey(sheet.part)].UncompressedSize64)
	source.meter = &meter{r: part, count: reader.bytes, left: source.token()}
	source.xml = xml.NewDecoder(source.meter)
	reader.source = source
	return reader, nil
}

// workbook is an XLSX file (ECMA-376) with what is known of it before a sheet is read.
type workbook struct {
	opts     Options
	parts    map[string]*zip.File
	sheets   []sheetInfo
	styles   string // names of parts, "" when there is none
	strings  string
	date1904 bool
}

type sheetInfo struct {
	name, part string
	hidden     bool
}

// partKey makes part names comparable: some writers use backslashes and other capitals than they declare.
func partKey(name string) string {
	return strings.ToLower(strings.TrimPrefix(strings.ReplaceAll(name, `\`, "/"), "/"))
}

// openPackage lists the parts of the file and refuses it by its declared sizes, before anything is unpacked. That the
// declared sizes are true is enforced by archive/zip: reading a part beyond its size fails.
func openPackage(file io.ReaderAt, size int64, opts Options) (*workbook, error) {
	directory := &directoryReader{file: file, left: maxDirectory}
	archive, err := zip.NewReader(directory, size)
	switch {
	case errors.Is(err, errDirectoryTooLong):
		return nil, tooLarge("文件内部的部件过多，不像是正常保存的表格：" + saveAs)
	case err != nil:
		return nil, damaged("文件不完整或已损坏，打不开："+saveAs, err)
	case len(archive.File) > opts.MaxEntries:
		return nil, tooLarge("文件内部有 %d 个部件，超过 %d 个的上限：请删去表格中的图片等对象后再上传", len(archive.File), opts.MaxEntries)
	}
	directory.left = math.MaxInt64

	book := &workbook{opts: opts, parts: map[string]*zip.File{}}
	unpacked := uint64(0)
	for _, f := range archive.File {
		if f.Flags&1 != 0 {
			return nil, unsupported("文件设了密码：请取消密码后再上传")
		}
		if unpacked += f.UncompressedSize64; f.UncompressedSize64 > uint64(opts.MaxUnpacked) || unpacked > uint64(opts.MaxUnpacked) {
			return nil, tooLarge("表格展开后超过 %d MB 的上限：请拆成几个文件分别上传", opts.MaxUnpacked>>20)
		}
		book.parts[partKey(f.Name)] = f
	}
	if unpacked > ratioMatters && unpacked/uint64(size) > uint64(opts.MaxRatio) {
		return nil, tooLarge("表格展开后是原来的 %d 倍，不像是正常保存的表格：请只复制有内容的单元格到新表格，另存为 .xlsx 后再上传", unpacked/uint64(size))
	}
	return book, refusePackage(book.parts)
}

// refusePackage says what a zip file is that is no XLSX file.
func refusePackage(parts map[string]*zip.File) error {
	has := func(name string) bool { return parts[name] != nil }
	switch {
	case has("mimetype"):
		return unsupported("这是 OpenDocument（.ods）等格式的文件：" + saveAs)
	case !has("[content_types].xml"):
		return unsupported("这是压缩包：请解压后上传其中的表格")
	case has("word/document.xml"):
		return unsupported("这是 Word 文档，不是表格：请把内容填入表格后上传")
	case has("ppt/presentation.xml"):
		return unsupported("这是演示文稿，不是表格：请把内容填入表格后上传")
	case has("xl/workbook.bin"):
		return unsupported("这是二进制格式的表格（.xlsb）：" + saveAs)
	}
	return nil
}

// has reports whether a part is there. Some writers announce styles or shared strings that they then leave out.
func (b *workbook) has(name string) bool { return b.parts[partKey(name)] != nil }

// open starts to unpack a part.
func (b *workbook) open(name string) (io.Reader, error) {
	f := b.parts[partKey(name)]
	if f == nil {
		return nil, damaged("文件内部缺少部件，打不开："+saveAs, fmt.Errorf("no part %q", name))
	}
	r, err := f.Open()
	if err != nil {
		return nil, damaged("文件不完整或已损坏，打不开："+saveAs, fmt.Errorf("open part %q: %w", name, err))
	}
	return r, nil
}

// decode unpacks a small part into a value.
func (b *workbook) decode(name string, value any) error {
	part, err := b.open(name)
	if err != nil {
		return err
	}
	limited := &io.LimitedReader{R: part, N: maxSmallPart}
	err = xml.NewDecoder(limited).Decode(value)
	if limited.N <= 0 {
		return tooLarge("表格的格式部分过大，不像是正常保存的表格：请只复制内容到新表格，另存为 .xlsx 后再上传")
	}
	if err != nil {
		return damaged("文件内部有错，读不出来："+saveAs, fmt.Errorf("part %q: %w", name, err))
	}
	return nil
}

type relationships struct {
	Items []struct {
		ID     string `xml:"Id,attr"`
		Type   string `xml:"Type,attr"`
		Target string `xml:"Target,attr"`
	} `xml:"Relationship"`
}

// relations reads the relationships of a part ("" for the package), and returns the part that each leads to.
func (b *workbook) relations(of string) (relationships, error) {
	dir, base := path.Split(of)
	var rels relationships
	if err := b.decode(dir+"_rels/"+base+".rels", &rels); err != nil {
		return rels, err
	}
	for i, r := range rels.Items {
		if !strings.HasPrefix(r.Target, "/") {
			rels.Items[i].Target = path.Join(dir, r.Target)
		}
	}
	return rels, nil
}

// readWorkbook finds the sheets and where styles and shared strings are. Relationship types are compared by their last
// word, since the strict variant of the format spells the rest differently.
func (b *workbook) readWorkbook() error {
	rels, err := b.relations("")
	if err != nil {
		return err
	}
	main := ""
	for _, r := range rels.Items {
		if path.Base(r.Type) == "officeDocument" {
			main = r.Target
		}
	}
	var content struct {
		Properties struct {
			Date1904 string `xml:"date1904,attr"`
		} `xml:"workbookPr"`
		Sheets []struct {
			Name  string     `xml:"name,attr"`
			State string     `xml:"state,attr"`
			Attrs []xml.Attr `xml:",any,attr"`
		} `xml:"sheets>sheet"`
	}
	if err := b.decode(main, &content); err != nil {
		return err
	}
	b.date1904 = content.Properties.Date1904 == "1" || content.Properties.Date1904 == "true"

	if rels, err = b.relations(main); err != nil {
		return err
	}
	worksheets := map[string]string{}
	for _, r := range rels.Items {
		switch path.Base(r.Type) {
		case "worksheet":
			worksheets[r.ID] = r.Target
		case "styles":
			b.styles = r.Target
		case "sharedStrings":
			b.strings = r.Target
		}
	}
	for _, s := range content.Sheets {
		for _, a := range s.Attrs {
			if part := worksheets[a.Value]; a.Name.Local == "id" && part != "" {
				b.sheets = append(b.sheets, sheetInfo{s.Name, part, s.State == "hidden" || s.State == "veryHidden"})
			}
		}
	}
	return nil
}

func (b *workbook) choose(name string) (sheetInfo, error) {
	var visible []string
	for _, s := range b.sheets {
		if name == "" && !s.hidden || name != "" && strings.TrimSpace(s.name) == strings.TrimSpace(name) {
			return s, nil
		}
		if !s.hidden {
			visible = append(visible, s.name)
		}
	}
	if len(visible) == 0 {
		return sheetInfo{}, unsupported("文件中没有可见的工作表")
	}
	return sheetInfo{}, unsupported(fmt.Sprintf("没有名为“%s”的工作表，现有：%s", name, strings.Join(visible, "、")))
}

func (b *workbook) readStyles() ([]numberStyle, error) {
	if !b.has(b.styles) {
		return nil, nil
	}
	var content struct {
		Formats []struct {
			ID   int    `xml:"numFmtId,attr"`
			Code string `xml:"formatCode,attr"`
		} `xml:"numFmts>numFmt"`
		Cells []struct {
			Format int `xml:"numFmtId,attr"`
		} `xml:"cellXfs>xf"`
	}
	if err := b.decode(b.styles, &content); err != nil {
		return nil, err
	}
	codes := map[int]string{}
	for _, f := range content.Formats {
		codes[f.ID] = f.Code
	}
	styles := make([]numberStyle, len(content.Cells))
	for i, c := range content.Cells {
		styles[i] = styleOf(c.Format, codes[c.Format])
	}
	return styles, nil
}

// stringTable holds the shared strings one after another: item i ends at ends[i].
type stringTable struct {
	text []byte
	ends []uint32
}

func (t *stringTable) item(i int) (string, bool) {
	if i < 0 || i >= len(t.ends) {
		return "", false
	}
	start := uint32(0)
	if i > 0 {
		start = t.ends[i-1]
	}
	return string(t.text[start:t.ends[i]]), true
}

func (b *workbook) readStrings() (*stringTable, error) {
	table := &stringTable{}
	if !b.has(b.strings) {
		return table, nil
	}
	part, err := b.open(b.strings)
	if err != nil {
		return nil, err
	}
	m := &meter{r: part, count: new(atomic.Int64)}
	s := &sheetSource{book: b, meter: m, xml: xml.NewDecoder(m)}
	for {
		token, err := s.read()
		if errors.Is(err, io.EOF) {
			return table, nil
		}
		if err != nil {
			return nil, err
		}
		if start, ok := token.(xml.StartElement); ok && start.Name.Local == "si" {
			if table.text, err = s.text(table.text, "si"); err != nil {
				return nil, err
			}
			// An empty string takes an entry too, so that entries are bounded like text.
			if int64(len(table.text)+4*len(table.ends)) > b.opts.MaxStrings {
				return nil, tooLarge("表格中的文字超过 %d MB 的上限：请拆成几个文件分别上传", b.opts.MaxStrings>>20)
			}
			table.ends = append(table.ends, uint32(len(table.text)))
		}
	}
}

// sheetSource streams the rows of a worksheet part.
type sheetSource struct {
	book    *workbook
	meter   *meter
	xml     *xml.Decoder
	styles  []numberStyle
	strings *stringTable
	row     int // number of the row that is being read
	column  int
	width   int // cells of the row before, a good guess for this one
	buffer  []byte
}

// token returns how many bytes one XML token may take: a cell's text may be escaped, &#x4E2D; for one character.
func (s *sheetSource) token() int64 { return int64(s.book.opts.MaxCell)*8 + xmlSlack }

// read returns the next token, which is valid until the next call. Tokens are raw, that is neither are end tags
// matched nor name spaces resolved: that a part ended early is noticed by what is missing.
func (s *sheetSource) read() (xml.Token, error) {
	s.meter.left = s.token()
	token, err := s.xml.RawToken()
	switch {
	case err == nil || errors.Is(err, io.EOF):
		return token, err
	case errors.Is(err, errPieceTooLong):
		return nil, &Error{s.row, s.column, fmt.Sprintf("内容超过 %d 字的上限", s.book.opts.MaxCell), ErrTooLarge, err}
	}
	return nil, s.damaged(err)
}

func (s *sheetSource) damaged(cause error) error {
	return &Error{s.row, s.column, "文件内部有错，从这里起读不出来：" + saveAs, ErrDamaged, cause}
}

// must is read where the part cannot end.
func (s *sheetSource) must() (xml.Token, error) {
	token, err := s.read()
	if errors.Is(err, io.EOF) {
		err = s.damaged(io.ErrUnexpectedEOF)
	}
	return token, err
}

func (s *sheetSource) next() (Row, error) {
	for {
		token, err := s.must()
		if err != nil {
			return Row{}, err
		}
		switch e := token.(type) {
		case xml.StartElement:
			if e.Name.Local == "row" {
				return s.readRow(e)
			}
		case xml.EndElement:
			if e.Name.Local == "sheetData" {
				return Row{}, s.finish()
			}
		}
	}
}

// finish reads what follows the rows, so that the checksum of the part is compared.
func (s *sheetSource) finish() error {
	s.row, s.column = 0, 0
	s.meter.left = math.MaxInt64
	if _, err := io.Copy(io.Discard, s.meter); err != nil {
		return damaged("文件在保存或传输中损坏，校验不符："+saveAs, err)
	}
	return io.EOF
}

func (s *sheetSource) readRow(start xml.StartElement) (Row, error) {
	s.column = 0
	s.row++
	for _, a := range start.Attr {
		if n, err := strconv.Atoi(a.Value); a.Name.Local == "r" && err == nil && n > 0 {
			s.row = n
		}
	}
	cells := make([]string, 0, s.width)
	for {
		token, err := s.must()
		if err != nil {
			return Row{}, err
		}
		switch e := token.(type) {
		case xml.EndElement:
			if e.Name.Local == "row" {
				s.width = len(cells)
				return Row{s.row, cells}, nil
			}
		case xml.StartElement:
			if e.Name.Local != "c" {
				continue
			}
			value, err := s.readCell(e)
			switch {
			case err != nil:
				return Row{}, err
			case value == "":
			case s.column > s.book.opts.MaxColumns:
				return Row{}, tooManyColumns(s.row, s.book.opts)
			default:
				for len(cells) < s.column {
					cells = append(cells, "")
				}
				cells[s.column-1] = value
			}
		}
	}
}

// readCell returns the text of a cell. Of a formula it is the value computed when the file was saved.
func (s *sheetSource) readCell(start xml.StartElement) (string, error) {
	var kind, style string
	s.column++
	for _, a := range start.Attr {
		switch a.Name.Local {
		case "r":
			if column := columnOf(a.Value); column > 0 {
				s.column = column
			}
		case "t":
			kind = a.Value
		case "s":
			style = a.Value
		}
	}
	text, formula, valued := s.buffer[:0], false, false
	for {
		token, err := s.must()
		if err != nil {
			return "", err
		}
		switch e := token.(type) {
		case xml.StartElement:
			switch e.Name.Local {
			case "v", "is":
				valued = true
				if text, err = s.text(text, e.Name.Local); err != nil {
					return "", err
				}
			case "f":
				formula = true
			}
		case xml.EndElement:
			if e.Name.Local != "c" {
				continue
			}
			s.buffer = text
			if formula && !valued {
				return "", &Error{s.row, s.column, "公式没有计算结果：请用 Excel 或 WPS 打开并保存一次后再上传", ErrDamaged, nil}
			}
			return s.value(string(text), kind, style)
		}
	}
}

// value turns the stored value of a cell into its text, by the cell's type (ECMA-376 part 1, 18.18.11).
func (s *sheetSource) value(raw, kind, style string) (string, error) {
	switch kind {
	case "s":
		if raw == "" {
			return "", nil
		}
		index, err := strconv.Atoi(raw)
		text, ok := s.strings.item(index)
		if err != nil || !ok {
			return "", s.damaged(fmt.Errorf("shared string %q of %d", raw, len(s.strings.ends)))
		}
		return text, nil
	case "b":
		if raw == "1" || raw == "true" {
			return "TRUE", nil
		}
		return "FALSE", nil
	case "d":
		return strings.TrimSuffix(strings.Replace(raw, "T", " ", 1), " 00:00:00"), nil
	case "str", "inlineStr", "e":
		return raw, nil
	}
	if raw == "" {
		return "", nil
	}
	var shown numberStyle
	if i, err := strconv.Atoi(style); err == nil && i >= 0 && i < len(s.styles) {
		shown = s.styles[i]
	}
	return number(raw, shown, s.book.date1904), nil
}

// text appends the text inside an element to buf, up to its end tag: of v the content itself, of si and is that of t
// elements, but not of the readings (rPh) that East Asian editions put beside them.
func (s *sheetSource) text(buf []byte, element string) ([]byte, error) {
	began, inText, inReading := len(buf), element == "v", false
	for {
		token, err := s.must()
		if err != nil {
			return nil, err
		}
		switch e := token.(type) {
		case xml.StartElement:
			switch e.Name.Local {
			case "t":
				inText = true
			case "rPh":
				inReading = true
			}
		case xml.CharData:
			if inText && !inReading {
				buf = append(buf, e...)
			}
			if int64(len(buf)-began) > s.token() {
				return nil, &Error{s.row, s.column, fmt.Sprintf("内容超过 %d 字的上限", s.book.opts.MaxCell), ErrTooLarge, nil}
			}
		case xml.EndElement:
			switch e.Name.Local {
			case element:
				if bytes.Contains(buf[began:], []byte("_x")) {
					buf = append(buf[:began], unescape(string(buf[began:]))...)
				}
				return buf, nil
			case "t":
				inText = false
			case "rPh":
				inReading = false
			}
		}
	}
}

// directoryReader bounds what listing the parts of a zip file may read: archive/zip keeps every entry that it finds,
// however many the file claims to have.
type directoryReader struct {
	file io.ReaderAt
	left int64
}

var errDirectoryTooLong = errors.New("the zip directory is too long")

func (d *directoryReader) ReadAt(p []byte, at int64) (int, error) {
	if d.left -= int64(len(p)); d.left < 0 {
		return 0, errDirectoryTooLong
	}
	return d.file.ReadAt(p, at)
}
