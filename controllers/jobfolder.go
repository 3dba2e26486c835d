package controllers

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	api "github.com/benchd/benchd/api/v1alpha1"

	"github.com/benchd/benchd/api/node"
	"github.com/benchd/benchd/slurmadapter"
)

const (
	// graceTime is how long processes have between SIGTERM and SIGKILL, and how long before the time limit a job is told.
	graceTime = 20 * time.Second
	// idleTimeout is how long a lead keeps a job without an open order.
	idleTimeout = 5 * time.Minute
	// leadLostTimeout is how long a member goes on without its lead.
	leadLostTimeout = time.Minute
)

// executable is benchd itself: jobs use a copy named by its hash, so that an upgrade never breaks a queued job. The file
// is held open, for another build may take its name at any time.
type executable struct {
	file *os.File
	name string
	// installing is held while the copy is written: Allocations are reconciled side by side, and a sealed file has one writer.
	installing sync.Mutex
}

func newBinary(path string) (*executable, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read benchd's own executable: %w", err)
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return nil, errors.Join(fmt.Errorf("read benchd's own executable: %w", err), f.Close())
	}
	return &executable{file: f, name: fmt.Sprintf("benchd-%s-%s", runtime.GOARCH, hex.EncodeToString(h.Sum(nil))[:16])}, nil
}

// install puts the copy into the work folder, unless it is there.
func (b *executable) install(workdir string) (string, error) {
	b.installing.Lock()
	defer b.installing.Unlock()
	target := filepath.Join(workdir, "bin", b.name)
	if node.Exists(target) {
		return target, nil
	}
	if err := ensureDir(filepath.Dir(target)); err != nil {
		return "", err
	}
	data, err := io.ReadAll(io.NewSectionReader(b.file, 0, 1<<40))
	if err != nil {
		return "", fmt.Errorf("install benchd for the job: %w", err)
	}
	return target, node.WriteSealedBytes(target, data, 0o700)
}

// InstallBinary puts a copy of the executable into the work folder, as a job would find it, and returns its path.
func InstallBinary(path, workdir string) (string, error) {
	b, err := newBinary(path)
	if err != nil {
		return "", err
	}
	target, err := b.install(workdir)
	return target, errors.Join(err, b.file.Close())
}

func allocationFolder(workdir string, a *api.Allocation) node.Folder {
	return node.Folder(filepath.Join(workdir, a.Namespace, "allocations", fmt.Sprintf("%s-%.8s", a.Name, a.UID)))
}

func attemptFolder(workdir string, run *api.BenchmarkRun, attempt int32) string {
	return filepath.Join(workdir, run.Namespace, "runs", fmt.Sprintf("%s-%.8s", run.Name, run.UID), fmt.Sprintf("attempt-%d", attempt))
}

// prepareFolder writes everything that the job needs. Each file is sealed once; what is there is left as it is, so a
// repetition after a crash finishes what was begun.
func prepareFolder(p *poller, a *api.Allocation, b *executable) (node.Folder, error) {
	folder := allocationFolder(p.workdir(), a)
	for _, dir := range []string{folder.Orders(), folder.Agents(), filepath.Dir(folder.Cert()), filepath.Dir(folder.Output())} {
		if err := ensureDir(dir); err != nil {
			return folder, err
		}
	}
	installed, err := b.install(p.workdir())
	if err != nil {
		return folder, err
	}
	if !node.Exists(folder.Token()) {
		if err := node.WriteSealedBytes(folder.Token(), []byte(rand.Text()), 0o600); err != nil {
			return folder, err
		}
	}
	if !node.Exists(folder.Cert()) {
		if err := makeCertificate(folder); err != nil {
			return folder, err
		}
	}
	if err := writeSecrets(folder, a); err != nil {
		return folder, err
	}
	if hosts := namedHosts(&a.Spec.Nodes); len(hosts) > 0 && !node.Exists(folder.Hosts()) {
		if err := node.WriteSealedBytes(folder.Hosts(), []byte(strings.Join(hosts, "\n")+"\n"), 0o600); err != nil {
			return folder, err
		}
	}
	if !node.Exists(folder.Manifest()) {
		if err := node.WriteSealed(folder.Manifest(), NewManifest(a, p.spec.Network, installed)); err != nil {
			return folder, err
		}
	}
	if !node.Exists(folder.Script()) {
		if err := node.WriteSealedBytes(folder.Script(), []byte(Script(a, folder, installed)), 0o700); err != nil {
			return folder, err
		}
	}
	return folder, nil
}

// makeCertificate makes the certificate that the job's agents speak TLS with. It is its own authority, trusted by this
// job alone.
func makeCertificate(folder node.Folder) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make the job's key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: node.TLSName}, DNSNames: []string{node.TLSName},
		// Jobs may pend for months, and nodes' clocks may differ.
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().AddDate(2, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return fmt.Errorf("make the job's certificate: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("make the job's key: %w", err)
	}
	// The certificate goes last: it is what says that both are there.
	if err := node.WriteSealedBytes(folder.Key(), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600); err != nil {
		return err
	}
	return node.WriteSealedBytes(folder.Cert(), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600)
}

// NewManifest says what the agents of an Allocation's job need to know.
func NewManifest(a *api.Allocation, network, binary string) node.Manifest {
	limit, err := api.ParseSlurmTime(a.Spec.Slurm.TimeLimit)
	if err != nil {
		limit = 365 * 24 * time.Hour // validated before; Slurm keeps the real limit
	}
	return node.Manifest{
		Protocol:   node.ProtocolVersion,
		Allocation: api.ObjectRef{Kind: api.KindAllocation, Namespace: a.Namespace, Name: a.Name, UID: string(a.UID)},
		Binary:     filepath.Base(binary), Ranks: dealRoles(&a.Spec.Nodes, &a.Spec.Service), Replicas: placeReplicas(&a.Spec),
		ExecutorPort: int(a.Spec.Nodes.ExecutorPort), CPUs: int(a.Spec.Nodes.Servers.CPUs),
		Service: a.Spec.Service, Container: a.Spec.Container, Monitor: a.Spec.Monitoring, Network: network,
		StartTimeout: *a.Spec.Timeouts.Start, IdleTimeout: metav1.Duration{Duration: idleTimeout},
		LeadLostTimeout: metav1.Duration{Duration: leadLostTimeout}, GraceTime: metav1.Duration{Duration: graceTime},
		TimeLimit: metav1.Duration{Duration: limit}, Trials: a.Spec.Trials, Between: a.Spec.Between,
	}
}

// dealRoles gives each rank its roles: servers first, then clients, then monitors. A role without nodes of its own
// shares: clients those of the servers, servers those of the clients, monitors the first client's. Servers that run already
// have no nodes here.
func dealRoles(n *api.NodesSpec, service *api.ServiceSpec) [][]string {
	servers, clients, monitors := int(*n.Servers.Count), int(*n.Clients.Count), int(*n.Monitors.Count)
	ranks := make([][]string, servers+clients+monitors)
	add := func(from, to int, role string) {
		for i := from; i < to; i++ {
			ranks[i] = append(ranks[i], role)
		}
	}
	add(0, servers, node.RoleServer)
	add(servers, servers+clients, node.RoleClient)
	add(servers+clients, len(ranks), node.RoleMonitor)
	switch {
	case len(service.Endpoints) > 0:
	case servers == 0 && clients > 0:
		add(0, clients, node.RoleServer)
	case servers == 0:
		add(0, monitors, node.RoleServer)
	}
	switch {
	case clients == 0 && servers > 0:
		add(0, servers, node.RoleClient)
	case clients == 0:
		add(0, monitors, node.RoleClient)
	}
	if monitors == 0 {
		at := 0
		if clients > 0 {
			at = servers
		}
		add(at, at+1, node.RoleMonitor)
	}
	return ranks
}

// placeReplicas deals the servers out to the server nodes, round by round. Those of one node take successive ports and
// even shares of its GPUs.
func placeReplicas(s *api.AllocationSpec) []node.Replica {
	var serverRanks []int
	if len(s.Service.Endpoints) > 0 {
		return nil
	}
	for rank, roles := range dealRoles(&s.Nodes, &s.Service) {
		for _, role := range roles {
			if role == node.RoleServer {
				serverRanks = append(serverRanks, rank)
			}
		}
	}
	span := int(s.Service.NodesPerReplica)
	groups := max(1, len(serverRanks)/span)
	count := int(s.Service.Replicas)
	perGroup := (count + groups - 1) / groups
	replicas := make([]node.Replica, 0, count)
	for i := range count {
		group, index := i%groups, i/groups
		r := node.Replica{
			Name: fmt.Sprintf("%s-%d", s.Service.Name, i), Ranks: serverRanks[group*span : (group+1)*span], Index: index,
			Port: s.Service.Port + int32(index),
		}
		share := int(s.Nodes.Servers.GPUs) / perGroup
		for g := range share {
			r.GPUs = append(r.GPUs, index*share+g)
		}
		replicas = append(replicas, r)
	}
	return replicas
}

// NewJobSpec says what Slurm is asked for: one homogeneous job with the largest need of any role.
func NewJobSpec(a *api.Allocation, folder node.Folder, jobName string) slurmadapter.JobSpec {
	s, n := &a.Spec.Slurm, &a.Spec.Nodes
	roles := []*api.RoleSpec{&n.Servers, &n.Clients, &n.Monitors}
	spec := slurmadapter.JobSpec{
		Name: jobName, Comment: "benchd " + a.Namespace + "/" + a.Name, Script: folder.Script(), Folder: string(folder), Output: folder.Output(),
		Nodes: len(dealRoles(&a.Spec.Nodes, &a.Spec.Service)), Exclusive: *s.Exclusive, TimeLimit: s.TimeLimit, Grace: graceTime,
		Partition: s.Partition, Account: s.Account, QOS: s.QOS, Nodelist: s.Nodelist, Exclude: s.Exclude, ExtraArgs: s.ExtraArgs,
	}
	if named := namedHosts(n); len(named) > 0 {
		spec.Nodelist = strings.Join(named, ",")
	}
	for _, r := range roles {
		spec.CPUs = max(spec.CPUs, int(r.CPUs))
		spec.GPUs = max(spec.GPUs, int(r.GPUs))
		if r.Memory != nil {
			spec.MemoryMiB = max(spec.MemoryMiB, (r.Memory.Value()+1<<20-1)>>20)
		}
	}
	return spec
}

// namedHosts are the nodes that roles name, in the order of ranks: servers, clients, monitors. None when no role names any.
func namedHosts(n *api.NodesSpec) []string {
	var hosts []string
	for _, role := range []*api.RoleSpec{&n.Servers, &n.Clients, &n.Monitors} {
		if role.Nodelist == "" || *role.Count == 0 {
			continue
		}
		names, err := slurmadapter.ExpandHostlist(role.Nodelist)
		if err != nil {
			return nil // validated before
		}
		hosts = append(hosts, names...)
	}
	return hosts
}

// ValidateNodelists reports roles whose named nodes do not fit their counts, or each other. It is part of admission.
func ValidateNodelists(s *api.BenchmarkRunSpec) field.ErrorList {
	var errs field.ErrorList
	at := field.NewPath("spec", "nodes")
	seen := map[string]string{}
	var unnamed []*field.Path
	named := false
	for _, role := range []struct {
		name string
		spec *api.RoleSpec
	}{{"servers", &s.Nodes.Servers}, {"clients", &s.Nodes.Clients}, {"monitors", &s.Nodes.Monitors}} {
		p := at.Child(role.name, "nodelist")
		if role.spec.Nodelist == "" {
			if *role.spec.Count > 0 {
				unnamed = append(unnamed, p)
			}
			continue
		}
		named = true
		names, err := slurmadapter.ExpandHostlist(role.spec.Nodelist)
		if err != nil {
			errs = append(errs, field.Invalid(p, role.spec.Nodelist, fmt.Sprintf("%v: use a Slurm host list such as mel[2001-2004]", err)))
			continue
		}
		if len(names) != int(*role.spec.Count) {
			errs = append(errs, field.Invalid(p, role.spec.Nodelist, fmt.Sprintf("names %d nodes, and count is %d: make them the same", len(names), *role.spec.Count)))
		}
		for _, name := range names {
			if other, taken := seen[name]; taken {
				errs = append(errs, field.Invalid(p, role.spec.Nodelist, fmt.Sprintf("node %s is one of %s already: a node that is to play both roles belongs to one, and the other's count is 0", name, other)))
			}
			seen[name] = role.name
		}
	}
	if !named {
		return errs
	}
	for _, p := range unnamed {
		errs = append(errs, field.Required(p, "name the nodes of every role that has some, or of none"))
	}
	if s.Slurm.Nodelist != "" {
		errs = append(errs, field.Forbidden(field.NewPath("spec", "slurm", "nodelist"), "roles name their nodes: leave it out"))
	}
	return errs
}

// workdirProblem keeps the condition that tells whether the work folder can be written. It returns the reason and the
// message of a problem that is waited out.
func workdirProblem(conditions *[]metav1.Condition, err error) (reason, message string, is bool) {
	reason, message, is = fileProblem(err)
	switch {
	case is:
		meta.SetStatusCondition(conditions, metav1.Condition{Type: api.ConditionWorkdirWritable, Status: metav1.ConditionFalse, Reason: reason, Message: message})
	case meta.FindStatusCondition(*conditions, api.ConditionWorkdirWritable) != nil:
		meta.SetStatusCondition(conditions, metav1.Condition{
			Type: api.ConditionWorkdirWritable, Status: metav1.ConditionTrue, Reason: "Writable", Message: "the work folder can be written again",
		})
	}
	return reason, message, is
}

// fileProblem says whether an error is one of the shared file system, and how to tell it.
func fileProblem(err error) (reason, message string, is bool) {
	var pathErr *fs.PathError
	if !errors.As(err, &pathErr) {
		return "", "", false
	}
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return "DiskFull", err.Error() + ": free some space; benchd tries again", true
	case errors.Is(err, syscall.EDQUOT):
		return "DiskQuotaExceeded", err.Error() + ": raise or free your quota; benchd tries again", true
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return "FolderNotWritable", err.Error() + ": correct its permissions, or name another spec.workdir in the Cluster object; benchd tries again", true
	}
	return "FileSystem", err.Error() + "; benchd tries again", true
}
