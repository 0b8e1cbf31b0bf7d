// Package editdistance compares names, to suggest the intended name for a mistyped one.
package editdistance

// Distance returns the optimal string alignment distance of two texts: the number of bytes to insert, delete, replace or swap with the next
// one to turn a into b. It takes time proportional to len(a)·len(b).
func Distance(a, b string) int {
	const room = 65 // names are rarely longer, and then need no allocation
	var rows [3][room]int
	before, last, row := rows[0][:], rows[1][:], rows[2][:]
	if len(b) >= room {
		before, last, row = make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	}
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
