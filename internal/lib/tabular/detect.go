package tabular

import (
	"bytes"
	"strings"
)

const saveAs = "请用 Excel 或 WPS 打开，另存为 .xlsx 后再上传"

// foreign lists the beginnings of files that people upload in place of a table, with what to do about each.
var foreign = []struct{ magic, message string }{
	{"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "这是旧版 .xls、.et 表格，或设了打开密码的表格：" + saveAs + "（不要设密码）"},
	{"%PDF", "这是 PDF 文件，不是表格：请上传原来的表格文件（.xlsx 或 .csv）"},
	{"\xff\xd8\xff", "这是图片，不是表格：请上传表格文件（.xlsx 或 .csv）"},
	{"\x89PNG", "这是图片，不是表格：请上传表格文件（.xlsx 或 .csv）"},
	{"GIF8", "这是图片，不是表格：请上传表格文件（.xlsx 或 .csv）"},
	{"Rar!", "这是压缩包：请解压后上传其中的表格"},
	{"7z\xbc\xaf\x27\x1c", "这是压缩包：请解压后上传其中的表格"},
	{"\x1f\x8b", "这是压缩包：请解压后上传其中的表格"},
	{"{\\rtf", "这是 RTF 文档，不是表格：请把内容填入表格后上传"},
}

// refuseForeign refuses a file that is known not to be readable, by its first bytes.
func refuseForeign(head []byte) error {
	for _, f := range foreign {
		if bytes.HasPrefix(head, []byte(f.magic)) {
			return unsupported(f.message)
		}
	}
	text := bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")), " \t\r\n")
	if len(text) > 1 && text[0] == '<' && strings.ContainsRune("!?hHtTmMsSdD", rune(text[1])) {
		// Many systems export an HTML table and call it .xls.
		return unsupported("这是网页或 XML 格式的表格（有的系统导出的 .xls 其实是网页）：" + saveAs)
	}
	return nil
}

func isZip(head []byte) bool {
	return bytes.HasPrefix(head, []byte("PK\x03\x04")) || bytes.HasPrefix(head, []byte("PK\x05\x06"))
}
