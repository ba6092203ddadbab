package file

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/simplifiedchinese"

	"anwang/internal/kernel/errs"
)

// class decides how large a file may be and whether a browser shows it.
type class int

const (
	picture class = iota
	document
	audio
	video
)

var classTitles = [...]string{"图片", "文档", "录音", "视频"}

// filetype is one of the types that are taken in.
type filetype struct {
	mime    string
	class   class
	endings []string // the first one is given to names that lack a fitting one
	inline  bool     // a browser may show it in place
}

func (t *filetype) accepts(ending string) bool {
	return slices.Contains(t.endings, strings.ToLower(ending))
}

var (
	typeJPEG = &filetype{"image/jpeg", picture, []string{".jpg", ".jpeg", ".jpe", ".jfif"}, true}
	typePNG  = &filetype{"image/png", picture, []string{".png"}, true}
	typeWebP = &filetype{"image/webp", picture, []string{".webp"}, true}
	typeGIF  = &filetype{"image/gif", picture, []string{".gif"}, true}
	typeHEIC = &filetype{"image/heic", picture, []string{".heic", ".heif"}, true}
	typePDF  = &filetype{"application/pdf", document, []string{".pdf"}, true}
	typeDOCX = &filetype{"application/vnd.openxmlformats-officedocument.wordprocessingml.document", document, []string{".docx"}, false}
	typeXLSX = &filetype{"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", document, []string{".xlsx"}, false}
	typePPTX = &filetype{"application/vnd.openxmlformats-officedocument.presentationml.presentation", document, []string{".pptx"}, false}
	typeOFD  = &filetype{"application/ofd", document, []string{".ofd"}, false} // GB/T 33190
	typeText = &filetype{"text/plain; charset=utf-8", document, []string{".txt", ".csv"}, false}
	typeGBK  = &filetype{"text/plain; charset=gb18030", document, []string{".txt", ".csv"}, false}
	typeMP4  = &filetype{"video/mp4", video, []string{".mp4", ".m4v", ".3gp"}, true}
	typeMOV  = &filetype{"video/quicktime", video, []string{".mov"}, true}
	typeMP3  = &filetype{"audio/mpeg", audio, []string{".mp3"}, true}
	typeAMR  = &filetype{"audio/amr", audio, []string{".amr"}, true}
	typeWAV  = &filetype{"audio/wav", audio, []string{".wav"}, true}
	typeM4A  = &filetype{"audio/mp4", audio, []string{".m4a"}, true}

	// typeZip is for the moment between the first bytes and the directory at the end.
	typeZip = &filetype{"application/zip", document, nil, false}
)

var filetypes = []*filetype{typeJPEG, typePNG, typeWebP, typeGIF, typeHEIC, typePDF, typeDOCX, typeXLSX, typePPTX, typeOFD,
	typeText, typeGBK, typeMP4, typeMOV, typeMP3, typeAMR, typeWAV, typeM4A}

// typeOf is the type with the given MIME name, which sniff once found.
func typeOf(mime string) *filetype {
	for _, t := range filetypes {
		if t.mime == mime {
			return t
		}
	}
	return &filetype{mime: "application/octet-stream", class: document}
}

const accepted = "可以上传：图片（JPG、PNG、WebP、GIF、HEIC）、PDF、Word/Excel/PPT（docx、xlsx、pptx）、OFD、txt、csv、视频（MP4、MOV）、录音（MP3、M4A、WAV、AMR）。"

func refuse(what string) error { return errs.Invalid("file.type", what+accepted) }

const headSize = 4096

// sniff tells from the first bytes what a file is. name is looked at for plain text alone, which nothing else distinguishes from a script.
func sniff(head []byte, name string) (*filetype, error) {
	has := func(at int, magic string) bool {
		return len(head) >= at+len(magic) && string(head[at:at+len(magic)]) == magic
	}
	switch {
	case len(head) == 0:
		return nil, errs.Invalid("file.empty", "文件是空的，请重新选择。")
	case has(0, "\xff\xd8\xff"):
		return typeJPEG, nil
	case has(0, "\x89PNG\r\n\x1a\n"):
		return typePNG, nil
	case has(0, "GIF87a"), has(0, "GIF89a"):
		return typeGIF, nil
	case has(0, "RIFF") && has(8, "WEBP"):
		return typeWebP, nil
	case has(0, "RIFF") && has(8, "WAVE"):
		return typeWAV, nil
	case has(0, "%PDF-"):
		return typePDF, nil
	case has(0, "PK\x03\x04"):
		return typeZip, nil
	case has(4, "ftyp") && len(head) >= 12:
		return sniffBrand(string(head[8:12]))
	case has(0, "#!AMR\n"), has(0, "#!AMR-WB\n"):
		return typeAMR, nil
	case has(0, "ID3"), mp3Frames(head):
		return typeMP3, nil
	case has(0, "\xd0\xcf\x11\xe0"):
		return nil, refuse("旧版 Office 文件（doc、xls、ppt、wps）可能带宏，或者文件加了密码。请另存为 docx、xlsx、pptx 或 PDF 再上传。")
	case has(0, "Rar!"), has(0, "7z\xbc\xaf"), has(0, "\x1f\x8b"):
		return nil, refuse("不接收压缩包，请解压后逐个上传。")
	}
	return sniffText(head, name)
}

func sniffBrand(brand string) (*filetype, error) {
	switch brand {
	case "heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "msf1":
		return typeHEIC, nil
	case "qt  ":
		return typeMOV, nil
	case "M4A ", "M4B ":
		return typeM4A, nil
	case "isom", "iso2", "iso3", "iso4", "iso5", "iso6", "mp41", "mp42", "avc1", "M4V ", "MSNV", "dash", "3gp4", "3gp5", "3gp6", "3gp7", "mmp4":
		return typeMP4, nil
	}
	return nil, refuse("不支持这种格式的图片或视频。")
}

// mp3Frames reports whether head begins with two MPEG audio layer 3 frames in a row (ISO/IEC 11172-3, 2.4.1.3).
func mp3Frames(head []byte) bool {
	size := mp3Frame(head)
	return size > 0 && size < len(head) && mp3Frame(head[size:]) > 0
}

func mp3Frame(b []byte) int {
	if len(b) < 4 || b[0] != 0xff || b[1]&0xe6 != 0xe2 { // sync, layer 3
		return 0
	}
	version, rate, sampling := b[1]>>3&3, int(b[2]>>4), int(b[2]>>2&3)
	if version == 1 || rate == 0 || rate == 15 || sampling == 3 {
		return 0
	}
	kbit := [2][15]int{{0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160}, {0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320}}
	hertz := [3]int{44100, 48000, 32000}[sampling]
	one, samples := 1, 144
	if version != 3 { // MPEG 2 and 2.5
		one, samples, hertz = 0, 72, hertz/2
		if version == 0 {
			hertz /= 2
		}
	}
	return samples*1000*kbit[one][rate]/hertz + int(b[2]>>1&1)
}

func sniffText(head []byte, name string) (*filetype, error) {
	cut := len(head) == headSize // perhaps in the middle of a character
	t, text := typeText, head
	for n := 0; cut && n < utf8.UTFMax-1 && !utf8.Valid(text); n++ {
		text = text[:len(text)-1]
	}
	if !utf8.Valid(text) {
		t = typeGBK
		text, _ = simplifiedchinese.GB18030.NewDecoder().Bytes(head) // what does not decode becomes RuneError
		if cut {
			text = bytes.TrimSuffix(text, []byte(string(utf8.RuneError)))
		}
		if bytes.ContainsRune(text, utf8.RuneError) {
			return nil, refuse("不支持这种类型的文件。")
		}
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	if bytes.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0x7f }) {
		return nil, refuse("不支持这种类型的文件。")
	}
	start := bytes.TrimSpace(text)
	if len(start) > 1 && start[0] == '<' && (start[1] == '!' || start[1] == '?' || start[1]|0x20 >= 'a' && start[1]|0x20 <= 'z') {
		return nil, refuse("不接收网页、SVG 和 XML 文件。")
	}
	if i := strings.LastIndexByte(name, '.'); i < 0 || !t.accepts(name[i:]) {
		return nil, refuse("不支持这种类型的文件；纯文本请以 .txt 或 .csv 为扩展名。")
	}
	return t, nil
}

// sniffZip tells which kind of document a zip container is. It reads the directory alone and unpacks nothing; a directory that
// promises more than an office document holds is refused, for the sake of whoever opens it.
func sniffZip(r io.ReaderAt, size int64) (*filetype, error) {
	var (
		found    *filetype
		content  bool
		macro    bool
		packed   int64
		unpacked int64
	)
	err := zipDirectory(r, size, func(name string, compressed, full int64) {
		packed += compressed
		unpacked += full
		lower := strings.ToLower(name)
		switch {
		case lower == "[content_types].xml":
			content = true
		case lower == "ofd.xml":
			found = typeOFD
		case lower == "word/document.xml":
			found = typeDOCX
		case lower == "xl/workbook.xml":
			found = typeXLSX
		case lower == "ppt/presentation.xml":
			found = typePPTX
		case strings.HasSuffix(lower, "vbaproject.bin"):
			macro = true
		}
	})
	switch {
	case err != nil:
		return nil, errs.Invalid("file.damaged", "文件不完整或已损坏，请在原来的软件里重新保存后再上传。").Because(err)
	case macro:
		return nil, refuse("不接收带宏的 Office 文件，请另存为不带宏的 docx、xlsx、pptx。")
	case packed > size, unpacked > 1<<30, unpacked > 64*mib && unpacked/200 > size:
		return nil, errs.Invalid("file.bomb", "文件解压后大得不正常，已拒收。请在原来的软件里另存后再上传。")
	case found == nil, found != typeOFD && !content:
		return nil, refuse("不接收压缩包，请解压后逐个上传。")
	}
	return found, nil
}

// zipDirectory yields the entries of a zip file's central directory (APPNOTE 4.3). archive/zip would hold them all in memory, and
// 50 MB can hold a million; zip64 is not for documents of this size.
func zipDirectory(r io.ReaderAt, size int64, yield func(name string, compressed, full int64)) error {
	const endSize, entrySize, most = 22, 46, 20_000
	tail := make([]byte, min(size, endSize+1<<16))
	if _, err := r.ReadAt(tail, size-int64(len(tail))); err != nil {
		return err
	}
	end := bytes.LastIndex(tail, []byte("PK\x05\x06"))
	if end < 0 || len(tail)-end < endSize {
		return fmt.Errorf("zip: no end record")
	}
	le := binary.LittleEndian
	count, length, at := int(le.Uint16(tail[end+10:])), int64(le.Uint32(tail[end+12:])), int64(le.Uint32(tail[end+16:]))
	if count == 0 || count > most || at+length > size {
		return fmt.Errorf("zip: %d entries in %d bytes at %d", count, length, at)
	}
	directory := io.NewSectionReader(r, at, length)
	header := make([]byte, entrySize)
	for range count {
		if _, err := io.ReadFull(directory, header); err != nil {
			return fmt.Errorf("zip: directory: %w", err)
		}
		if string(header[:4]) != "PK\x01\x02" {
			return fmt.Errorf("zip: directory entry expected")
		}
		name := make([]byte, le.Uint16(header[28:]))
		if _, err := io.ReadFull(directory, name); err != nil {
			return fmt.Errorf("zip: directory: %w", err)
		}
		skip := int64(le.Uint16(header[30:])) + int64(le.Uint16(header[32:]))
		if _, err := directory.Seek(skip, io.SeekCurrent); err != nil {
			return err
		}
		yield(string(name), int64(le.Uint32(header[20:])), int64(le.Uint32(header[24:])))
	}
	return nil
}
