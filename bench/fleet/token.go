package fleet

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"time"
)

// tokenTime is longer than a run.
const tokenTime = 24 * time.Hour

// mint makes a JWT, signed with HS256, by which user may follow and publish everything. With own it names the topic that
// the user follows unasked, as Centrifugo wants it.
func mint(secret, user, own string, now time.Time) string {
	channels := ""
	if own != "" {
		channels = fmt.Sprintf(`,"channels":[%q]`, own)
	}
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." +
		base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"sub":%q,"iat":%d,"exp":%d,"topics":{"subscribe":["*"],"publish":["*"]}%s}`,
			user, now.Unix(), now.Add(tokenTime).Unix(), channels))
	sum := hmac.New(sha256.New, []byte(secret))
	_, _ = sum.Write([]byte(text)) // a hash takes everything
	return text + "." + base64.RawURLEncoding.EncodeToString(sum.Sum(nil))
}
