// Command podcheck is what a pod of the cluster can reach, asked from inside the pod: the tests'
// own image, so that they need no other. It prints one JSON object and exits 1 if anything failed.
//
//	podcheck serve                 answer every HTTP request on :8080 with the pod's host name
//	podcheck check NAME URL        resolve NAME, get URL, ask the API server for its version
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

const serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount/"

func main() {
	if len(os.Args) == 2 && os.Args[1] == "serve" {
		serve()
	} else if len(os.Args) == 4 && os.Args[1] == "check" {
		check(os.Args[2], os.Args[3])
	}
	fmt.Fprintln(os.Stderr, "usage: podcheck serve | podcheck check NAME URL")
	os.Exit(64)
}

func serve() {
	name, _ := os.Hostname()
	handler := func(writer http.ResponseWriter, _ *http.Request) { fmt.Fprintln(writer, name) }
	fmt.Println("serving on :8080")
	fmt.Fprintln(os.Stderr, http.ListenAndServe(":8080", http.HandlerFunc(handler)))
	os.Exit(1)
}

func check(name, url string) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	found := map[string]string{}
	failed := false
	note := func(key string, value string, err error) {
		if err != nil {
			value, failed = "error: "+err.Error(), true
		}
		found[key] = value
	}
	addresses, err := net.DefaultResolver.LookupHost(ctx, name)
	note("dns", strings.Join(addresses, ","), err)
	// A Service just made is refused until kube-proxy knows its endpoints.
	body, err := get(ctx, http.DefaultClient, url, "")
	for err != nil && ctx.Err() == nil {
		time.Sleep(100 * time.Millisecond)
		body, err = get(ctx, http.DefaultClient, url, "")
	}
	note("service", body, err)
	version, err := apiVersion(ctx)
	note("api", version, err)
	answer, _ := json.Marshal(found)
	fmt.Println(string(answer))
	if failed {
		os.Exit(1)
	}
	os.Exit(0)
}

func apiVersion(ctx context.Context) (string, error) {
	token, err := os.ReadFile(serviceAccount + "token")
	if err != nil {
		return "", err
	}
	ca, err := os.ReadFile(serviceAccount + "ca.crt")
	if err != nil {
		return "", err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	body, err := get(ctx, client, "https://kubernetes.default.svc/version", string(token))
	if err != nil {
		return "", err
	}
	var version struct{ GitVersion string }
	if err := json.Unmarshal([]byte(body), &version); err != nil {
		return "", err
	}
	return version.GitVersion, nil
}

func get(ctx context.Context, client *http.Client, url, token string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, response.Status)
	}
	return strings.TrimSpace(string(body)), err
}
