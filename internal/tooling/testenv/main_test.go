package testenv

import (
	"flag"
	"testing"
)

func TestRunAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want int
	}{
		"no flag":  {nil, 16},
		"the flag": {[]string{"-test.parallel=2"}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			flags := flag.NewFlagSet("", flag.ContinueOnError)
			parallel := flags.Int("test.parallel", 1, "")
			if err := flags.Parse(c.args); err != nil {
				t.Fatal(err)
			}
			if err := runAtOnce(flags, 16); err != nil {
				t.Fatal(err)
			}
			if *parallel != c.want {
				t.Errorf("%d tests at a time, want %d", *parallel, c.want)
			}
		})
	}
	if err := runAtOnce(flag.NewFlagSet("", flag.ContinueOnError), 16); err == nil {
		t.Error("no error without such a flag")
	}
}
