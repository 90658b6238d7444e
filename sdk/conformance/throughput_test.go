package main

import "testing"

func TestRatioBelowTheRequiredOneFails(t *testing.T) {
	s := throughputSettings{drivers: drivers{"go": "a", "rust": "b"}, atLeast: ratios{"go": 0.8}}
	if s.report(map[string][]float64{"rust": {900, 1000, 2000}, "go": {700, 800, 900}}) {
		t.Error("a median of 0.8 was refused")
	}
	if !s.report(map[string][]float64{"rust": {900, 1000, 2000}, "go": {700, 799, 900}}) {
		t.Error("a median below 0.8 was accepted")
	}
	s.drivers = drivers{"go": "a"}
	if s.report(map[string][]float64{"go": {1}}) {
		t.Error("a run without the reference was compared")
	}
}

func TestMedianOfAnEvenNumberIsTheLower(t *testing.T) {
	for _, each := range []struct {
		values []float64
		median float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{4, 1, 3}, 3}, {[]float64{4, 1, 3, 2}, 2}} {
		if found := median(each.values); found != each.median {
			t.Errorf("the median of %v is %v", each.values, found)
		}
	}
}
