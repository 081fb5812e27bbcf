package token

import (
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

func BenchmarkVerify(b *testing.B) {
	topics := jwt.MapClaims{"topics": jwt.MapClaims{"subscribe": []string{"news:*", "user:{sub}"}, "publish": []string{"chat:*"}}}
	for _, alg := range []string{"HS256", "ES256", "RS256", "EdDSA"} {
		b.Run(alg, func(b *testing.B) {
			cfg, key := Config{Secrets: []string{secret}}, any([]byte(secret))
			if name, ok := pairOf[alg]; ok {
				cfg, key = Config{KeyFiles: []string{file(b, publicPEM(b, name))}}, pairs()[name]
			}
			v, text := verifier(b, cfg), sign(b, alg, key, nil, claims(topics))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSeal(b *testing.B) {
	s := sealer(b, nil, resumeKey(1))
	b.ReportAllocs()
	for b.Loop() {
		s.Seal(sample)
	}
}

func BenchmarkOpen(b *testing.B) {
	s := sealer(b, nil, resumeKey(1))
	text := s.Seal(sample)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Open(text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMaySubscribe(b *testing.B) {
	r, err := NewRights([]string{"news:*", "chat:*", "room:{sub}:*"}, nil)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		r.MaySubscribe("42", "room:42:a")
	}
}
