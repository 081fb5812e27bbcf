package main

// compresses reports whether clients may have messages compressed.
func (c *config) compresses() bool { return c.Compression == "on" }

// exposed is what --compression-except says: whether a topic's events are never compressed. nil: none's.
func (c *config) exposed() (func(topic string) bool, error) {
	return matches("compression-except", c.CompressionExcept)
}

func (c *config) validateCompression() error {
	_, err := c.exposed()
	return err
}
