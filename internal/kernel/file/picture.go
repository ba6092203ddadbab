package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"math/bits"
	"strconv"

	"golang.org/x/image/webp"

	"anwang/internal/kernel/errs"
)

const (
	maxPixels  = 100_000_000
	maxScans   = 200 // of a progressive JPEG; each costs a pass over all pixels. Cameras write one, the tools about ten
	smallSide  = 320
	largeSide  = 1280
	jpegRate   = 80
	printTones = 6 // a picture with fewer steps of brightness, or fewer falls, has no fingerprint worth comparing
)

// thumbs is what is made of a picture once it is decoded.
type thumbs struct {
	small, large []byte // JPEG, turned as the picture is to be seen
	print        string // 16 hexadecimal digits; empty when the picture is too plain
}

var errDamaged = errs.Invalid("file.damaged", "图片不完整或已损坏，可能是上传中断。请重新拍摄或重新选择后上传。")

// readPicture fills in what is known about a picture and makes its thumbnails; they are nil when this program cannot decode it. It refuses
// pictures that are damaged, or made to exhaust the machine: size is checked before anything is decoded.
func (s *Store) readPicture(ctx context.Context, c *content, t *filetype, r io.ReaderAt) (*thumbs, error) {
	p := readPrivate(t, r, c.Size)
	if len(p.hidden) >= maxPatches || p.scans > maxScans {
		return nil, errDamaged
	}
	c.Hidden, c.TakenAt = p.hidden, p.exif.takenAt
	c.setPlace(p.exif.longitude, p.exif.latitude)
	if t.class != picture || t == typeHEIC {
		return nil, nil
	}
	read := func() io.Reader { return io.NewSectionReader(r, 0, c.Size) }
	cfg, err := configOf(t, read())
	if err != nil {
		return nil, errDamaged.Because(err)
	}
	if cfg.Width < 1 || cfg.Height < 1 || !p.whole {
		return nil, errDamaged
	}
	if int64(cfg.Width)*int64(cfg.Height) > maxPixels {
		return nil, errs.Invalid("file.pixels", fmt.Sprintf("图片尺寸过大（%d×%d），请缩小到1亿像素以内再上传。", cfg.Width, cfg.Height))
	}
	c.Width, c.Height = cfg.Width, cfg.Height
	if p.exif.orientation >= 5 {
		c.Width, c.Height = c.Height, c.Width
	}
	need := memoryFor(t, cfg, p.progressive)
	if need > s.cfg.PictureMemory {
		return nil, nil
	}
	if err := s.memory.Acquire(ctx, need); err != nil {
		return nil, err
	}
	defer s.memory.Release(need)
	img, err := decode(t, read())
	var no1 jpeg.UnsupportedError
	var no2 png.UnsupportedError
	switch {
	case errors.As(err, &no1), errors.As(err, &no2):
		return nil, nil // a rare kind of picture, not a broken one
	case err != nil:
		return nil, errDamaged.Because(err)
	}
	made, err := makeThumbs(img, p.exif.orientation)
	if err != nil {
		return nil, err
	}
	c.Thumbs, c.Print = true, made.print
	return made, nil
}

func configOf(t *filetype, r io.Reader) (image.Config, error) {
	switch t {
	case typeJPEG:
		return jpeg.DecodeConfig(r)
	case typePNG:
		return png.DecodeConfig(r)
	case typeGIF:
		return gif.DecodeConfig(r)
	}
	return webp.DecodeConfig(r)
}

// decode turns a decoder's panic into an error: whoever sends a picture must not be able to stop the program.
func decode(t *filetype, r io.Reader) (img image.Image, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("decoder panicked: %v", p)
		}
	}()
	switch t {
	case typeJPEG:
		return jpeg.Decode(r)
	case typePNG:
		return png.Decode(r)
	case typeGIF:
		return gif.Decode(r) // the first picture
	}
	return webp.Decode(r)
}

// memoryFor is an upper bound of the bytes that the decoder holds at once.
func memoryFor(t *filetype, cfg image.Config, progressive bool) int64 {
	perPixel := int64(4)
	switch m := cfg.ColorModel.(type) {
	case color.Palette:
		perPixel = 1
	default:
		switch m {
		case color.RGBA64Model, color.NRGBA64Model:
			perPixel = 8
		case color.GrayModel:
			perPixel = 1
		case color.Gray16Model:
			perPixel = 2
		}
	}
	if t == typePNG {
		perPixel += perPixel / 2 // passes of an interlaced picture
	}
	if progressive {
		perPixel += 12 // all coefficients
	}
	return perPixel*int64(cfg.Width)*int64(cfg.Height) + mib
}

func makeThumbs(img image.Image, orientation int) (*thumbs, error) {
	large := turn(shrink(img, largeSide), orientation)
	small := shrink(large, smallSide)
	out := &thumbs{print: fingerprint(small)}
	for _, v := range []struct {
		to  *[]byte
		img image.Image
	}{{&out.large, large}, {&out.small, small}} {
		var b bytes.Buffer
		if err := jpeg.Encode(&b, v.img, &jpeg.Options{Quality: jpegRate}); err != nil {
			return nil, fmt.Errorf("thumbnail: %w", err)
		}
		*v.to = b.Bytes()
	}
	return out, nil
}

// shrink returns img on white, no longer than longest on either side.
func shrink(img image.Image, longest int) *image.RGBA {
	w, h := img.Bounds().Dx(), img.Bounds().Dy()
	if w >= h && w > longest {
		return resample(img, longest, max(1, h*longest/w))
	} else if h > longest {
		return resample(img, max(1, w*longest/h), longest)
	}
	return resample(img, w, h)
}

// resample makes img w by h pixels, no more than it has: each pixel is the average of those that fall into it. It goes over the picture once, a
// row at a time, because a photo is large and general resamplers take several times its memory.
func resample(img image.Image, w, h int) *image.RGBA {
	b := img.Bounds()
	out := image.NewRGBA(image.Rect(0, 0, w, h))
	row := image.NewRGBA(image.Rect(0, 0, b.Dx(), 1))
	sums := make([][4]uint32, w) // red, green, blue, how many
	for y := range b.Dy() {
		draw.Draw(row, row.Bounds(), image.White, image.Point{}, draw.Src)
		draw.Draw(row, row.Bounds(), img, image.Pt(b.Min.X, b.Min.Y+y), draw.Over)
		for x := range b.Dx() {
			s, p := &sums[x*w/b.Dx()], row.Pix[4*x:4*x+3]
			s[0] += uint32(p[0])
			s[1] += uint32(p[1])
			s[2] += uint32(p[2])
			s[3]++
		}
		line := y * h / b.Dy()
		if (y+1)*h/b.Dy() == line {
			continue
		}
		for x, s := range sums {
			copy(out.Pix[out.PixOffset(x, line):], []uint8{uint8(s[0] / s[3]), uint8(s[1] / s[3]), uint8(s[2] / s[3]), 255})
		}
		clear(sums)
	}
	return out
}

// turn shows img as EXIF's orientation says: 1 upright, 3 upside down, 6 and 8 on its side, the even ones of the rest mirrored.
func turn(img *image.RGBA, orientation int) *image.RGBA {
	if orientation == 1 {
		return img
	}
	w, h := img.Bounds().Dx(), img.Bounds().Dy()
	out := image.NewRGBA(image.Rect(0, 0, w, h))
	if orientation >= 5 {
		out = image.NewRGBA(image.Rect(0, 0, h, w))
	}
	for y := range out.Bounds().Dy() {
		for x := range out.Bounds().Dx() {
			var sx, sy int
			switch orientation {
			case 2:
				sx, sy = w-1-x, y
			case 3:
				sx, sy = w-1-x, h-1-y
			case 4:
				sx, sy = x, h-1-y
			case 5:
				sx, sy = y, x
			case 6:
				sx, sy = y, h-1-x
			case 7:
				sx, sy = w-1-y, h-1-x
			case 8:
				sx, sy = w-1-y, x
			}
			out.SetRGBA(x, y, img.RGBAAt(sx, sy))
		}
	}
	return out
}

// fingerprint is the difference hash of a picture: on a grid of 9 by 8 tones, whether each is darker than its right neighbour. Saving again, another
// size or another quality change a few bits; a crop, a mirror or a turn changes it altogether.
func fingerprint(img image.Image) string {
	const w, rows = 9, 8
	if img.Bounds().Dx() < w || img.Bounds().Dy() < rows {
		return ""
	}
	grid := resample(img, w, rows)
	tone := func(x, y int) uint8 { return color.GrayModel.Convert(grid.RGBAAt(x, y)).(color.Gray).Y }
	var h uint64
	for y := range rows {
		for x := range w - 1 {
			h <<= 1
			if tone(x, y) < tone(x+1, y) {
				h |= 1
			}
		}
	}
	if n := bits.OnesCount64(h); n < printTones || n > 64-printTones {
		return ""
	}
	return fmt.Sprintf("%016x", h)
}

// setPrint stores the fingerprint with its four quarters.
func (c *content) setPrint() {
	if c.Print == "" {
		return
	}
	h, err := strconv.ParseUint(c.Print, 16, 64)
	if err != nil {
		return
	}
	q := quarters(h)
	c.Print0, c.Print1, c.Print2, c.Print3 = &q[0], &q[1], &q[2], &q[3]
}

func quarters(h uint64) (q [4]int) {
	for i := range q {
		q[i] = int(h >> (16 * i) & 0xffff)
	}
	return q
}
