package pusher

import (
	"cmp"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Sign is the hex HMAC-SHA256 of text by the application's secret.
func (a *App) Sign(text string) string {
	mac := hmac.New(sha256.New, []byte(a.Secret))
	mac.Write([]byte(text))
	return hex.EncodeToString(mac.Sum(nil))
}

// signed reports whether auth, "key:signature", is the application's own over text. It takes the same time for all signatures.
func (a *App) signed(auth, text string) bool {
	key, signature, _ := strings.Cut(auth, ":")
	return subtle.ConstantTimeCompare([]byte(key), []byte(a.Key))&subtle.ConstantTimeCompare([]byte(signature), []byte(a.Sign(text))) == 1
}

// signatureAge is how far the time of a request may be from ours.
const signatureAge = 600 * time.Second

// VerifyRequest is nil for a request to the HTTP API that the application's backend has signed, else why it is none. path is
// that of the request as it was sent: where a proxy has put something before it, the signed path begins with /apps/ and the id.
// The query has the sum of the body, for VerifyBody: nothing has to be read of a request that nobody has signed.
func (a *App) VerifyRequest(method, path string, query url.Values, now time.Time) error {
	for name, values := range query {
		if strings.HasPrefix(name, "auth_") && len(values) != 1 {
			return fmt.Errorf("%s is given %d times", name, len(values))
		}
	}
	if subtle.ConstantTimeCompare([]byte(query.Get("auth_key")), []byte(a.Key)) != 1 {
		return fmt.Errorf("auth_key %.64q is not this application's", query.Get("auth_key"))
	}
	if version := query.Get("auth_version"); version != "1.0" {
		return fmt.Errorf("auth_version is %.16q: want 1.0", version)
	}
	at, err := strconv.ParseInt(query.Get("auth_timestamp"), 10, 64)
	if err != nil {
		return fmt.Errorf("auth_timestamp %.32q: want seconds since 1970", query.Get("auth_timestamp"))
	}
	if off := now.Unix() - at; off > int64(signatureAge/time.Second) || off < -int64(signatureAge/time.Second) {
		return fmt.Errorf("auth_timestamp is %d s from the time here, at most %d are allowed", off, int64(signatureAge/time.Second))
	}
	if i := strings.Index(path, "/apps/"+a.ID+"/"); i > 0 {
		path = path[i:]
	}
	want := a.Sign(stringToSign(method, path, query))
	if subtle.ConstantTimeCompare([]byte(query.Get("auth_signature")), []byte(want)) != 1 {
		return fmt.Errorf("auth_signature is not that of %s %.200s with this query", method, path)
	}
	return nil
}

// VerifyBody is nil if body is the one that a request with this query, whose signature is good, was signed with.
func VerifyBody(query url.Values, body []byte) error {
	if _, given := query["body_md5"]; !given && len(body) == 0 {
		return nil
	}
	sum := md5.Sum(body)
	if subtle.ConstantTimeCompare([]byte(query.Get("body_md5")), []byte(hex.EncodeToString(sum[:]))) != 1 {
		return errors.New("body_md5 is not that of the body")
	}
	return nil
}

// stringToSign is the text that a request's signature is over: method, path and the sorted query, keys in lower case.
func stringToSign(method, path string, query url.Values) string {
	type pair struct{ name, value string }
	var pairs []pair
	for name, values := range query {
		if strings.EqualFold(name, "auth_signature") {
			continue
		}
		pairs = append(pairs, pair{strings.ToLower(name), strings.Join(values, ",")})
	}
	slices.SortFunc(pairs, func(a, b pair) int { // not as texts, of which p10=x goes before p1=x
		return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.value, b.value))
	})
	var text strings.Builder
	text.WriteString(strings.ToUpper(method) + "\n" + path + "\n")
	for i, p := range pairs {
		if i > 0 {
			text.WriteByte('&')
		}
		text.WriteString(p.name + "=" + p.value)
	}
	return text.String()
}
