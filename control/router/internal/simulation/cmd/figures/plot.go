package main

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
)

const (
	width, height             = 1040, 520
	left, right, top, bottom  = 90, 390, 50, 60
	smallest, largest         = 150., 6000. // milliseconds
	firstLoad, lastLoad       = 0.65, 1.79
	letter, letterGap, square = 2, 12, 4
)

var (
	white = color.RGBA{255, 255, 255, 255}
	black = color.RGBA{30, 30, 30, 255}
	grey  = color.RGBA{215, 215, 215, 255}
	// inks are the colours of the policies, apart for colour-blind readers, too (Okabe and Ito).
	inks = []color.RGBA{
		{0, 0, 0, 255}, {230, 159, 0, 255}, {86, 180, 233, 255}, {0, 114, 178, 255}, {213, 94, 0, 255}, {0, 158, 115, 255},
	}
)

// A canvas is a picture with the scales of the plot.
type canvas struct{ *image.RGBA }

// plot draws the 99th percentile by load, on a logarithmic scale, with the intervals of the seeds.
func (c *campaign) plot(n int) []byte {
	p := canvas{image.NewRGBA(image.Rect(0, 0, width, height))}
	p.fill(0, 0, width, height, white)
	p.text(left, 16, fmt.Sprintf("p99 latency, %d clients and %d servers", n, n), black)
	p.axes()
	for i, policy := range c.measured(normal, n) {
		p.line(c, n, policy, inks[i])
		p.fill(width-right+20, top+10+i*26, 18, 4, inks[i])
		p.text(width-right+46, top+4+i*26, policy, inks[i])
	}
	var out bytes.Buffer
	if err := png.Encode(&out, p); err != nil {
		panic(err) // a buffer takes everything
	}
	return out.Bytes()
}

func (p canvas) axes() {
	for _, ms := range []float64{200, 500, 1000, 2000, 5000} {
		p.fill(left, y(ms), width-left-right, 1, grey)
		p.text(14, y(ms)-7, fmt.Sprintf("%4.0f", ms), black)
	}
	for _, load := range loads {
		p.fill(x(load), top, 1, height-top-bottom, grey)
		p.text(x(load)-22, height-bottom+10, fmt.Sprintf("%.2f", load), black)
	}
	p.fill(left, top, 1, height-top-bottom, black)
	p.fill(left, height-bottom, width-left-right, 1, black)
	p.text(14, 30, "ms", black)
	p.text(left+150, height-26, "load / allocation", black)
}

// line draws a policy.
func (p canvas) line(c *campaign, n int, name string, ink color.RGBA) {
	previousX, previousY := -1, 0
	for _, load := range loads {
		s := c.spread(point{normal, n, load, name}, p99)
		px, py := x(load), y(s.median)
		p.fill(px, y(s.high), 1, y(s.low)-y(s.high)+1, ink)
		p.fill(px-square, py-square, 2*square+1, 2*square+1, ink)
		if previousX >= 0 {
			p.stroke(previousX, previousY, px, py, ink)
		}
		previousX, previousY = px, py
	}
}

func x(load float64) int {
	return left + int((load-firstLoad)/(lastLoad-firstLoad)*float64(width-left-right))
}

func y(ms float64) int {
	share := math.Log(ms/smallest) / math.Log(largest/smallest)
	return height - bottom - int(share*float64(height-top-bottom))
}

func (p canvas) fill(x, y, w, h int, ink color.RGBA) {
	for i := range w {
		for j := range h {
			p.SetRGBA(x+i, y+j, ink)
		}
	}
}

// stroke draws a line from left to right.
func (p canvas) stroke(x0, y0, x1, y1 int, ink color.RGBA) {
	steps := max(x1-x0, y1-y0, y0-y1)
	for i := range steps {
		p.fill(x0+(x1-x0)*i/steps, y0+(y1-y0)*i/steps, 2, 2, ink)
	}
}

func (p canvas) text(x, y int, s string, ink color.RGBA) {
	for _, r := range s {
		if r < ' ' || int(r-' ') >= len(glyphs) {
			r = '?'
		}
		for column, dots := range glyphs[r-' '] {
			for row := range 8 {
				if dots>>row&1 == 1 {
					p.fill(x+column*letter, y+row*letter, letter, letter, ink)
				}
			}
		}
		x += letterGap
	}
}
