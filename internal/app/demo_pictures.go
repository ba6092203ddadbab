package app

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"math/rand/v2"
)

const (
	photoBefore = "before"
	photoAfter  = "after"
	receipt     = "receipt"
	acceptance  = "acceptance"
)

// demoPictures draws made-up photos: places with something wrong, marked red, and the same put right, marked green.
func demoPictures(rnd *rand.Rand) (out [2][][]byte) {
	for range 16 {
		base := rnd.IntN(60) + 90
		seed := rnd.Uint64()
		for i, mark := range []color.RGBA{{200, 40, 30, 255}, {40, 150, 70, 255}} {
			out[i] = append(out[i], demoPicture(rand.New(rand.NewPCG(seed, 1)), base, mark))
		}
	}
	return out
}

func demoPicture(rnd *rand.Rand, base int, mark color.RGBA) []byte {
	const w, h = 640, 480
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	fill := func(r image.Rectangle, c color.RGBA, grain int) {
		r = r.Intersect(img.Bounds())
		for y := r.Min.Y; y < r.Max.Y; y++ {
			shade := rnd.IntN(grain + 1)
			for x := r.Min.X; x < r.Max.X; x++ {
				img.SetRGBA(x, y, color.RGBA{dim(c.R, shade), dim(c.G, shade), dim(c.B, shade), 255})
			}
		}
	}
	grey := func(n int) color.RGBA { return color.RGBA{uint8(n), uint8(n - 4), uint8(n - 12), 255} }
	fill(image.Rect(0, 0, w, h*3/5), grey(base+60), 6) // wall
	fill(image.Rect(0, h*3/5, w, h), grey(base), 14)   // floor
	for range 7 {
		x, width, height := rnd.IntN(w-80), 40+rnd.IntN(120), 60+rnd.IntN(180)
		c := color.RGBA{uint8(60 + rnd.IntN(120)), uint8(60 + rnd.IntN(110)), uint8(60 + rnd.IntN(100)), 255}
		fill(image.Rect(x, h*4/5-height, x+width, h*4/5), c, 10)
	}
	x, y := 120+rnd.IntN(300), 120+rnd.IntN(160)
	for _, side := range []image.Rectangle{image.Rect(x, y, x+140, y+6), image.Rect(x, y+104, x+140, y+110), image.Rect(x, y, x+6, y+110), image.Rect(x+134, y, x+140, y+110)} {
		fill(side, mark, 0)
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: 78}); err != nil {
		panic(err) // into memory
	}
	return b.Bytes()
}

func dim(c uint8, by int) uint8 { return uint8(max(0, int(c)-by)) }

// document is a file of the wanted sort.
func (b *builder) document(what string) (name string, content []byte) {
	switch what {
	case photoBefore:
		return "隐患现场.jpg", b.photos[0][b.rnd.IntN(len(b.photos[0]))]
	case photoAfter:
		return "整改后.jpg", b.photos[1][b.rnd.IntN(len(b.photos[1]))]
	case receipt:
		return "重大隐患报告回执.pdf", demoPDF("Anwang demo: receipt of a report on a major hidden danger")
	}
	return "第三方验收评估报告.pdf", demoPDF("Anwang demo: report of a third party on the acceptance of a treatment")
}

// demoPDF is a page with one line, in a font that every reader has, which is why it is Latin.
func demoPDF(line string) []byte {
	content := "BT /F1 14 Tf 60 760 Td (" + line + ") Tj ET"
	objects := []string{"<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
		"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
		fmt.Sprintf("<< /Length %d >>\nstream\n%s\nendstream", len(content), content), "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"}
	var b bytes.Buffer
	b.WriteString("%PDF-1.4\n")
	var at []int
	for i, o := range objects {
		at = append(at, b.Len())
		fmt.Fprintf(&b, "%d 0 obj\n%s\nendobj\n", i+1, o)
	}
	start := b.Len()
	fmt.Fprintf(&b, "xref\n0 %d\n0000000000 65535 f \n", len(objects)+1)
	for _, n := range at {
		fmt.Fprintf(&b, "%010d 00000 n \n", n)
	}
	fmt.Fprintf(&b, "trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n", len(objects)+1, start)
	return b.Bytes()
}
