package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// onePair is for ports with one certificate.
func onePair(cert, key string) func() ([]pairFiles, error) {
	return func() ([]pairFiles, error) { return []pairFiles{{cert, key}}, nil }
}

// pairsIn finds the pairs of a directory: NAME.crt or NAME.pem with NAME.key, and in its subdirectories fullchain.pem with
// privkey.pem, as Certbot writes them, or tls.crt with tls.key, as Kubernetes does. They come in the order of their names,
// default first.
func pairsIn(dir string) ([]pairFiles, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, reason(err)
	}
	var list []pairFiles
	add := func(cert, key string) {
		if isFile(cert) && isFile(key) {
			list = append(list, pairFiles{cert, key})
		}
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") { // also the folders by which Kubernetes exchanges all files at once
			continue
		}
		path := filepath.Join(dir, e.Name())
		switch name := strings.TrimSuffix(path, filepath.Ext(path)); filepath.Ext(path) {
		case ".crt", ".pem":
			add(path, name+".key")
		default:
			add(filepath.Join(path, "fullchain.pem"), filepath.Join(path, "privkey.pem"))
			add(filepath.Join(path, "tls.crt"), filepath.Join(path, "tls.key"))
		}
	}
	if len(list) == 0 {
		return nil, errors.New("no pair in it: want NAME.crt or NAME.pem with NAME.key, or folders with fullchain.pem and privkey.pem, or tls.crt and tls.key")
	}
	slices.SortStableFunc(list, func(a, b pairFiles) int {
		return strings.Compare(rank(dir, a), rank(dir, b))
	})
	return list, nil
}

// rank orders pairs.
func rank(dir string, f pairFiles) string {
	name, _ := filepath.Rel(dir, f.cert)
	if strings.HasPrefix(name, "default.") || strings.HasPrefix(name, "default"+string(filepath.Separator)) {
		return ""
	}
	return name
}

func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

// wantPair wants both files of a pair or none; flag is the first one's, the other ends in -key.
func wantPair(flag, cert, key string) error {
	keyFlag := strings.TrimSuffix(flag, "-cert") + "-key"
	switch {
	case cert == "" && key == "":
		return nil
	case key == "":
		return fmt.Errorf("--%s: needs --%s", flag, keyFlag)
	case cert == "":
		return fmt.Errorf("--%s: needs --%s", keyFlag, flag)
	}
	for _, file := range []struct{ flag, name string }{{flag, cert}, {keyFlag, key}} {
		if err := wantFile(file.flag, file.name); err != nil {
			return err
		}
	}
	return nil
}

// wantFile wants the name of a file that is there.
func wantFile(flag, name string) error {
	if isPEM(name) {
		return fmt.Errorf("--%s: want the name of a PEM file, not its text", flag)
	}
	if _, err := os.Stat(name); err != nil {
		return fmt.Errorf("--%s %s: %w", flag, name, reason(err))
	}
	return nil
}
