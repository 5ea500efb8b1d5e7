package spk

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"math"
)

// icon draws three machines, each connected to the others, as a PNG of size
// pixels a side.
func icon(size int) []byte {
	m := image.NewNRGBA(image.Rect(0, 0, size, size))
	nodes := [][2]float64{{0.5, 0.24}, {0.22, 0.73}, {0.78, 0.73}}
	for y := range size {
		for x := range size {
			// Sixteen samples a pixel keep the edges smooth.
			var r, g, b, a float64
			for i := range 16 {
				c := iconAt((float64(x)+float64(i%4)/4+0.125)/float64(size), (float64(y)+float64(i/4)/4+0.125)/float64(size), nodes)
				alpha := float64(c.A) / 16
				r, g, b, a = r+float64(c.R)*alpha, g+float64(c.G)*alpha, b+float64(c.B)*alpha, a+alpha
			}
			if a > 0 {
				m.SetNRGBA(x, y, color.NRGBA{uint8(r / a), uint8(g / a), uint8(b / a), uint8(a)})
			}
		}
	}
	var out bytes.Buffer
	_ = png.Encode(&out, m) // memory takes everything
	return out.Bytes()
}

func iconAt(x, y float64, nodes [][2]float64) color.NRGBA {
	const corner, edge = 0.2, 0.03
	dx := math.Max(0, math.Abs(x-0.5)-(0.5-edge-corner))
	dy := math.Max(0, math.Abs(y-0.5)-(0.5-edge-corner))
	if math.Hypot(dx, dy) > corner {
		return color.NRGBA{}
	}
	for _, n := range nodes {
		if math.Hypot(x-n[0], y-n[1]) < 0.11 {
			return color.NRGBA{255, 255, 255, 255}
		}
	}
	for i, n := range nodes {
		o := nodes[(i+1)%len(nodes)]
		length := math.Hypot(o[0]-n[0], o[1]-n[1])
		if math.Abs((o[0]-n[0])*(n[1]-y)-(n[0]-x)*(o[1]-n[1]))/length < 0.02 &&
			math.Hypot(x-n[0], y-n[1]) < length && math.Hypot(x-o[0], y-o[1]) < length {
			return color.NRGBA{255, 255, 255, 255}
		}
	}
	return color.NRGBA{176, 58, 38, 255}
}
