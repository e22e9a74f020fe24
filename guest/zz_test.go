package guest_test
import ("testing";"sliod/guest";"context";"time")
func TestZZ(t *testing.T){ ctx,c:=context.WithTimeout(t.Context(),15*time.Second); defer c()
 m,err:=guest.Start(ctx,guest.Options{}); if err!=nil{t.Fatal(err)}; defer m.Close()
 for _, s := range []string{"echo hi", "exit 7", "kill -9 $$"} {
 t0:=time.Now(); r,err:=m.Sh(ctx,s); t.Log(time.Since(t0), r,err) }
 t.Log(m.Console())
}
