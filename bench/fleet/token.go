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

// mint makes a JWT, signed with HS256, by which user may follow and publish everything.
func mint(secret, user string, now time.Time) string {
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." +
		base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"sub":%q,"iat":%d,"exp":%d,"topics":{"subscribe":["*"],"publish":["*"]}}`,
			user, now.Unix(), now.Add(tokenTime).Unix()))
	sum := hmac.New(sha256.New, []byte(secret))
	_, _ = sum.Write([]byte(text)) // a hash takes everything
	return text + "." + base64.RawURLEncoding.EncodeToString(sum.Sum(nil))
}
