package health

// Known returns the number of remembered targets.
func (m *Monitor) Known() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.targets)
}
