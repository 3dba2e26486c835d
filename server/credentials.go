package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

const (
	certLifetime = 365 * 24 * time.Hour
	// certMargin is how long a certificate must still be good for not to be made anew.
	certMargin = 30 * 24 * time.Hour
)

// Credentials are the files that let clients in over TCP. All are for their owner alone.
type Credentials struct {
	// CertFile and KeyFile are the server's. Being self-signed, CertFile is also what clients trust.
	CertFile, KeyFile string
	// TokenFile holds Token.
	TokenFile, Token string
	// Kubeconfig is ready for `kubectl --kubeconfig`.
	Kubeconfig string
}

// MakeCredentials makes in folder what ServeTLS and its clients at serverURL need. What is there and still good stays,
// so that clients keep working over a restart; the kubeconfig is written anew, as the URL may have changed.
func MakeCredentials(folder, serverURL string) (Credentials, error) {
	c := Credentials{
		CertFile: filepath.Join(folder, "tls.crt"), KeyFile: filepath.Join(folder, "tls.key"),
		TokenFile: filepath.Join(folder, "token"), Kubeconfig: filepath.Join(folder, "kubeconfig"),
	}
	u, err := url.Parse(serverURL)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" {
		return c, fmt.Errorf("make credentials: %q is no server's URL: use the form https://host:port", serverURL)
	}
	if err := privateFolder(folder); err != nil {
		return c, fmt.Errorf("make credentials: %w", err)
	}
	if !certIsGood(c, u.Hostname()) {
		if err := makeCert(c, u.Hostname()); err != nil {
			return c, fmt.Errorf("make certificate: %w", err)
		}
	}
	if c.Token, err = keepToken(c.TokenFile); err != nil {
		return c, fmt.Errorf("make token: %w", err)
	}
	if err := writeKubeconfig(c, serverURL); err != nil {
		return c, fmt.Errorf("write kubeconfig: %w", err)
	}
	return c, nil
}

func certIsGood(c Credentials, host string) bool {
	pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	return err == nil && pair.Leaf.VerifyHostname(host) == nil && time.Until(pair.Leaf.NotAfter) > certMargin
}

func makeCert(c Credentials, host string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return err
	}
	now := time.Now()
	cert := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "benchd"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(certLifetime), // an hour for clocks that differ
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: true,
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	if ip := net.ParseIP(host); ip != nil {
		cert.IPAddresses = append(cert.IPAddresses, ip)
	} else {
		cert.DNSNames = append(cert.DNSNames, host)
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		writePrivate(c.CertFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		writePrivate(c.KeyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})))
}

// keepToken reads the token, or draws one where there is none.
func keepToken(path string) (string, error) {
	data, err := os.ReadFile(path)
	if token := strings.TrimSpace(string(data)); err == nil && token != "" {
		return token, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	token := rand.Text()
	return token, writePrivate(path, []byte(token+"\n"))
}

// writeKubeconfig writes one user, one cluster and the context that joins them, with everything inside.
func writeKubeconfig(c Credentials, serverURL string) error {
	cert, err := os.ReadFile(c.CertFile)
	if err != nil {
		return err
	}
	type object = map[string]any
	data, err := yaml.Marshal(object{
		"apiVersion": "v1", "kind": "Config", "current-context": "benchd",
		"clusters": []object{{"name": "benchd", "cluster": object{"server": serverURL, "certificate-authority-data": cert}}},
		"users":    []object{{"name": "benchd", "user": object{"token": c.Token}}},
		"contexts": []object{{"name": "benchd", "context": object{"cluster": "benchd", "user": "benchd"}}},
	})
	if err != nil {
		return err
	}
	return writePrivate(c.Kubeconfig, data)
}

// writePrivate replaces a file by one that only its owner can read, whole or not at all.
func writePrivate(path string, data []byte) error {
	tmp := path + ".tmp"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
