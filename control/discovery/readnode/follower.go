package readnode

import (
	pb "github.com/go-os/go-os/control/discovery/internal/readnodev1"
)

// follower is a service that one client follows. Only the sender of its session changes it.
type follower struct {
	session  *session
	feed     *feed
	interest *pb.Interest
	queued   bool // in session.news; guarded by session.mu
	gone     bool // followed no longer; guarded by session.mu

	answered bool   // with a snapshot, or by resuming
	sent     uint64 // revision
	told     string // the reason that the client was given
}

// next returns the frames that the client lacks. There is no queue: a slow client reads the history later, or restarts with a snapshot.
func (f *feed) next(w *follower) [][]byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.refused != nil:
		return w.once(pb.Outcome_OUTCOME_INVALID, f.refused.Error())
	case w.answered && f.history.covers(w.sent):
		return w.changes(nil)
	case w.answered:
		return w.snapshot(reasonBehind)
	case f.synced && w.interest.GetEpoch() == f.epoch && f.history.covers(w.interest.GetRevision()):
		return w.resume()
	case !f.synced, !f.lost.IsZero() && w.interest.GetUsable():
		return w.once(pb.Outcome_OUTCOME_PENDING, f.reason)
	case w.interest.GetEpoch() == "":
		return w.snapshot(reasonNew)
	case w.interest.GetEpoch() == f.epoch:
		return w.snapshot(reasonBehind)
	default:
		return w.snapshot(reasonHistory)
	}
}

// once returns an answer without updates, unless the client has had it.
func (w *follower) once(outcome pb.Outcome, reason string) [][]byte {
	if w.told == reason {
		return nil
	}
	w.told = reason
	answer := w.answer(outcome)
	answer.Reason = text(reason)
	return [][]byte{encodeAnswer(answer)}
}

func (w *follower) resume() [][]byte {
	w.answered, w.sent = true, w.interest.GetRevision()
	w.session.node.obs.resumed()
	return w.changes([][]byte{encodeAnswer(w.answer(pb.Outcome_OUTCOME_RESUMED))})
}

func (w *follower) snapshot(reason string) [][]byte {
	s := w.feed.whole()
	w.answered, w.sent = true, s.revision
	w.session.node.obs.snapshot(reason)
	return w.changes(append([][]byte{encodeAnswer(w.answer(pb.Outcome_OUTCOME_SNAPSHOT))}, s.frames...))
}

// changes appends the changes that the client lacks.
func (w *follower) changes(frames [][]byte) [][]byte {
	frames = append(frames, w.feed.history.after(w.sent)...)
	w.sent = w.feed.revision
	return frames
}

// answer returns the answer to the client's interest. The lock of the feed must be held.
func (w *follower) answer(outcome pb.Outcome) *pb.Answer {
	return &pb.Answer{
		Service: w.feed.service, Tag: w.interest.GetTag(), Outcome: outcome, Reason: w.feed.reason,
		LostMs: uint64(w.feed.age().Milliseconds()), Revision: w.feed.revision,
	}
}

func encodeAnswer(a *pb.Answer) []byte {
	return mustMarshal(&pb.Frame{Kind: &pb.Frame_Answer{Answer: a}})
}
