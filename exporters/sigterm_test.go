package exporters

// childMode is the variable that makes the test binary a service under test.
const childMode = "EXPORTERS_TEST_CHILD"

func child() int { return 2 }
