package redistest

// HangUp ends every open connection, both ways, as a proxy does that finds them idle: without an RST, and
// without a close_notify where TLS goes through it.
func (p *Proxy) HangUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.close()
	}
}
