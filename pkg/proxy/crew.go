package proxy

// crew takes connections through their first stages. A TLS handshake needs much
// stack, and to grow one costs more than much else of it, so goroutines that have
// done so stay for the next connection; what serves it afterwards begins anew with
// a small one.
type crew struct {
	p    *Proxy
	next chan *conn    // unbuffered: only who waits is handed one
	rest chan struct{} // a token for each that may wait
}

// maxResting is how many goroutines may wait for a connection.
const maxResting = 32

func newCrew(p *Proxy) crew {
	return crew{p, make(chan *conn), make(chan struct{}, maxResting)}
}

// start has c taken care of, and does not wait.
func (w *crew) start(c *conn) {
	select {
	case w.next <- c:
	default:
		w.p.conns.Go(func() { w.work(c) })
	}
}

// shed lets those go who wait.
func (w *crew) shed() {
	for range cap(w.rest) {
		select {
		case w.next <- nil:
		default:
			return
		}
	}
}

// work ends when there are enough others who wait, or with the proxy.
func (w *crew) work(c *conn) {
	for c != nil {
		c.run((*conn).begin)
		select {
		case w.rest <- struct{}{}:
			c = w.wait()
			<-w.rest
		default:
			return
		}
	}
}

func (w *crew) wait() *conn {
	select {
	case c := <-w.next:
		return c
	case <-w.p.dismissed:
		return nil
	}
}
