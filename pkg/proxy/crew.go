package proxy

// crew takes connections through their first stages. A TLS handshake needs much
// stack, and to grow one costs more than much else of it, so goroutines that have
// done so stay for the next; what serves the connection afterwards begins anew with
// a small one.
type crew struct {
	p    *Proxy
	next chan errand   // unbuffered: only who waits is handed one
	rest chan struct{} // a token for each that may wait
}

// errand is what is to be done for a connection; the zero one is to leave.
type errand struct {
	c  *conn
	do func(*conn)
}

// maxResting is how many goroutines may wait for a connection.
const maxResting = 32

func newCrew(p *Proxy) crew {
	return crew{p, make(chan errand), make(chan struct{}, maxResting)}
}

// start has a connection taken care of, and does not wait.
func (w *crew) start(c *conn) { w.send(errand{c, (*conn).enter}) }

// send has an errand done, and does not wait.
func (w *crew) send(e errand) {
	select {
	case w.next <- e:
	default:
		w.p.conns.Go(func() { w.work(e) })
	}
}

// shed lets those go who wait.
func (w *crew) shed() {
	for range cap(w.rest) {
		select {
		case w.next <- errand{}:
		default:
			return
		}
	}
}

// work ends when there are enough others who wait, or with the proxy.
func (w *crew) work(e errand) {
	for e.c != nil {
		e.do(e.c)
		select {
		case w.rest <- struct{}{}:
			e = w.wait()
			<-w.rest
		default:
			return
		}
	}
}

func (w *crew) wait() errand {
	select {
	case e := <-w.next:
		return e
	case <-w.p.dismissed:
		return errand{}
	}
}
