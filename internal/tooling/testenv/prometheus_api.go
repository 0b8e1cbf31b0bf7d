package testenv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Sample is one value that a query returned.
type Sample struct {
	Labels map[string]string
	Value  float64
	Time   time.Time
}

// Exemplar is one stored exemplar.
type Exemplar struct {
	// Series are the labels of the exemplar's series.
	Series map[string]string
	// Labels are the exemplar's own labels, trace_id and span_id among them.
	Labels map[string]string
	Value  float64
	Time   time.Time
}

// TargetStatus is the state of one target in Prometheus.
type TargetStatus struct {
	Job string
	// URL is the scraped URL.
	URL string
	// Health is "up", "down", or "unknown" before the first scrape.
	Health string
	// LastError is why the target is down.
	LastError string
}

// Query evaluates a PromQL expression now. The expression must give a scalar or an instant vector of floats; any other result is an error.
// No sample at all is an empty result, not an error.
func (p *PrometheusHandle) Query(ctx context.Context, promql string) ([]Sample, error) {
	var data struct {
		ResultType string          `json:"resultType"`
		Result     json.RawMessage `json:"result"`
	}
	if err := p.get(ctx, "/api/v1/query", url.Values{"query": {promql}}, &data); err != nil {
		return nil, fmt.Errorf("query %s: %w", promql, err)
	}
	var series []struct {
		Metric map[string]string `json:"metric"`
		Value  point             `json:"value"`
	}
	switch data.ResultType {
	case "scalar":
		var value point
		if err := json.Unmarshal(data.Result, &value); err != nil {
			return nil, fmt.Errorf("query %s: %w", promql, err)
		}
		return []Sample{{Value: value.value, Time: value.time}}, nil
	case "vector":
		if err := json.Unmarshal(data.Result, &series); err != nil {
			return nil, fmt.Errorf("query %s: %w", promql, err)
		}
	default:
		return nil, fmt.Errorf("query %s: it gives a %s: ask for an instant vector or a scalar", promql, data.ResultType)
	}
	samples := make([]Sample, 0, len(series))
	for _, s := range series {
		if s.Value.time.IsZero() {
			return nil, fmt.Errorf("query %s: series %v has no float value: it may be a native histogram", promql, s.Metric)
		}
		samples = append(samples, Sample{Labels: s.Metric, Value: s.Value.value, Time: s.Value.time})
	}
	return samples, nil
}

// QueryExemplars returns the exemplars of the series that the query selects, between start and end.
func (p *PrometheusHandle) QueryExemplars(ctx context.Context, query string, start, end time.Time) ([]Exemplar, error) {
	var data []struct {
		SeriesLabels map[string]string `json:"seriesLabels"`
		Exemplars    []struct {
			Labels    map[string]string `json:"labels"`
			Value     string            `json:"value"`
			Timestamp float64           `json:"timestamp"`
		} `json:"exemplars"`
	}
	values := url.Values{"query": {query}, "start": {start.UTC().Format(time.RFC3339Nano)}, "end": {end.UTC().Format(time.RFC3339Nano)}}
	if err := p.get(ctx, "/api/v1/query_exemplars", values, &data); err != nil {
		return nil, fmt.Errorf("exemplars of %s: %w", query, err)
	}
	var all []Exemplar
	for _, series := range data {
		for _, e := range series.Exemplars {
			value, err := strconv.ParseFloat(e.Value, 64)
			if err != nil {
				return nil, fmt.Errorf("exemplars of %s: %w", query, err)
			}
			all = append(all, Exemplar{Series: series.SeriesLabels, Labels: e.Labels, Value: value, Time: unixSeconds(e.Timestamp)})
		}
	}
	return all, nil
}

// Targets returns the targets that Prometheus scrapes now.
func (p *PrometheusHandle) Targets(ctx context.Context) ([]TargetStatus, error) {
	var data struct {
		ActiveTargets []struct {
			Labels    map[string]string `json:"labels"`
			ScrapeURL string            `json:"scrapeUrl"`
			Health    string            `json:"health"`
			LastError string            `json:"lastError"`
		} `json:"activeTargets"`
	}
	if err := p.get(ctx, "/api/v1/targets", url.Values{"state": {"active"}}, &data); err != nil {
		return nil, fmt.Errorf("targets: %w", err)
	}
	var all []TargetStatus
	for _, target := range data.ActiveTargets {
		all = append(all, TargetStatus{Job: target.Labels["job"], URL: target.ScrapeURL, Health: target.Health, LastError: target.LastError})
	}
	return all, nil
}

// WaitQuery evaluates the expression until accept returns nil for its result, and returns that result. A nil accept waits for at least one
// sample. It fails the test after 30 s.
func (p *PrometheusHandle) WaitQuery(promql string, accept func([]Sample) error) (got []Sample) {
	p.t.Helper()
	if accept == nil {
		accept = func(s []Sample) error {
			if len(s) == 0 {
				return errors.New("no sample")
			}
			return nil
		}
	}
	Eventually(p.t, patience, "an answer of prometheus to "+promql, func() (err error) {
		if got, err = p.Query(p.t.Context(), promql); err != nil {
			return err
		}
		return accept(got)
	})
	return got
}

// get queries the HTTP API and decodes the data of its answer.
func (p *PrometheusHandle) get(ctx context.Context, path string, values url.Values, data any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL()+path+"?"+values.Encode(), nil)
	if err != nil {
		return err
	}
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer := struct {
		Status string `json:"status"`
		Error  string `json:"error"`
		Data   any    `json:"data"`
	}{Data: data}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return fmt.Errorf("%s answered %s: %w", path, response.Status, err)
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s answered %s: %s", path, response.Status, answer.Error)
	}
	return nil
}

// point is a time and a value as the HTTP API writes them: [1435781451.781, "1.5"].
type point struct {
	time  time.Time
	value float64
}

func (p *point) UnmarshalJSON(text []byte) (err error) {
	var seconds float64
	var value string
	if err = json.Unmarshal(text, &[]any{&seconds, &value}); err != nil {
		return err
	}
	p.time = unixSeconds(seconds)
	p.value, err = strconv.ParseFloat(value, 64)
	return err
}

// unixSeconds converts the API's fractional seconds, which have a precision of milliseconds.
func unixSeconds(s float64) time.Time { return time.UnixMilli(int64(s*1000 + 0.5)) }
