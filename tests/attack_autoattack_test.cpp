// AutoAttack: what it says of a row is what its members say, one after the other.
#include <doctest/doctest.h>
#include <numeric>

#include "attacks/autoattack.h"
#include "attacks/relay.h"
#include "tests/attack_models.h"

using namespace hashgrad;
using namespace hashgrad::testing;

namespace {

/// Gives every pixel one value, for one forward pass, and does not see what comes of it.
class Blind : public Attack {
 public:
  explicit Blind(double value) : value_(value) {}
  std::string name() const override { return "blind"; }
  std::string repr() const override { return fmt::format("Blind({})", value_); }

 protected:
  Crafted craft(const Oracle&, const AttackInput& input) const override {
    Crafted out(input.x);
    out.x_adv.fill(value_);
    out.forwards.assign(out.forwards.size(), 1);
    return out;
  }

 private:
  double value_;
};

}  // namespace

TEST_CASE("relay: a success that its attack has not seen itself has no step") {
  const Model model = linear_model({0, 1}, {0.5, 0});  // class 1 from 0.5 on
  const AttackInput input{Tensor::full({1, 1, 1, 1}, 0.25, DType::float64), classes({0}), {}, {0}};
  std::vector<std::unique_ptr<Attack>> members;
  for (const double value : {0.0, 1.0}) members.push_back(std::make_unique<Blind>(value));
  const Relayed r =
      relay(members, Oracle(model), input, Keeps::first, [](const Attack&) { return OracleOptions{}; });
  CHECK(r.broken_by == std::vector<int64_t>{1});
  CHECK(r.crafted.x_adv.item() == 1);
  CHECK(r.crafted.forwards == std::vector<int64_t>{2});
  CHECK(r.crafted.first_success == std::vector<int64_t>{-1});
}

TEST_CASE("autoattack: each member attacks what resisted those before it") {
  const Model model = small_net(DType::float64);
  const Tensor x = images(40, {1, 6, 6}, DType::float64);
  AttackInput input{x, own_labels(model, x), {}, {}};
  for (int64_t i = 0; i < 40; ++i) input.samples.push_back(i);
  input.y.data<int64_t>()[5] = (input.y.data<int64_t>()[5] + 1) % 5;  // wrong from the start
  for (const AutoAttack::Version version : {AutoAttack::Version::standard, AutoAttack::Version::plus}) {
    const AutoAttack attack({.eps = 0.06, .version = version, .iters = 4, .queries = 40, .seed = 9});
    const AttackResult r = attack.run(model, input);
    std::vector<int64_t> breakers(attack.members().size(), 0);
    for (int64_t i = 0; i < 40; ++i) {
      int64_t forwards = 0, backwards = 0;
      bool broken = false;
      for (size_t m = 0; m < attack.members().size() && !broken; ++m) {
        const AttackResult own = attack.members()[m]->run(model, gather(input, {i}));
        broken = own.success.data<uint8_t>()[0] == 1;
        if (broken || m == 0)
          CHECK(identical(r.x_adv.slice(0, i, i + 1).contiguous(), own.x_adv) ==
                (broken || !r.success.data<uint8_t>()[i]));
        if (broken)
          CHECK(r.first_success.data<int64_t>()[i] == forwards + own.first_success.data<int64_t>()[0]);
        if (broken) CHECK(status_of(r, i) == status_of(own, 0));
        forwards += own.forwards.data<int64_t>()[0], backwards += own.backwards.data<int64_t>()[0];
        breakers[m] += broken;
      }
      CHECK(broken == (r.success.data<uint8_t>()[i] == 1));
      CHECK(r.forwards.data<int64_t>()[i] == forwards);
      CHECK(r.backwards.data<int64_t>()[i] == backwards);
    }
    CHECK(status_of(r, 5) == Status::already_wrong);
    CHECK(breakers[0] > 0);
    CHECK(breakers[0] < 39);
    CHECK(std::accumulate(breakers.begin() + 1, breakers.end(), int64_t{0}) > 0);
  }
}

TEST_CASE("autoattack: members with gradients follow the surrogate, the others the model") {
  const Model model = small_net(DType::float64), other("1x6x6 flatten fc5", {.dtype = DType::float64});
  const Tensor x = images(12, {1, 6, 6}, DType::float64);
  AttackInput input{x, own_labels(model, x), {}, {}};
  for (int64_t i = 0; i < 12; ++i) input.samples.push_back(i);
  const AutoAttack attack({.eps = 0.06, .iters = 4, .queries = 40});
  const OracleOptions behind{.surrogate = &other};
  const AttackResult r = attack.run(model, input, behind), own = attack.run(model, input);
  int64_t differ = 0;
  for (int64_t i = 0; i < 12; ++i) {
    Tensor expected;
    bool broken = false;
    for (size_t m = 0; m < attack.members().size() && !broken; ++m) {
      const Attack& member = *attack.members()[m];
      const AttackResult one =
          member.run(model, gather(input, {i}), member.uses_gradients() ? behind : OracleOptions{});
      broken = one.success.data<uint8_t>()[0] == 1;
      if (broken || m == 0) expected = one.x_adv;
    }
    CHECK(identical(r.x_adv.slice(0, i, i + 1).contiguous(), expected));
    differ += !same_row(r, i, own, i);
  }
  CHECK(differ > 6);
}

TEST_CASE("autoattack: the members are those of the authors, in their order") {
  const auto names = [](AutoAttack::Version version) {
    std::string all;
    const AutoAttack attack({.version = version});
    for (const auto& member : attack.members()) all += member->name() + " ";
    return all;
  };
  CHECK(names(AutoAttack::Version::standard) == "apgd-ce apgd-t fab-t square ");
  CHECK(names(AutoAttack::Version::plus) == "apgd-ce apgd-dlr fab square apgd-t fab-t ");
  CHECK(names(AutoAttack::Version::rand) == "apgd-ce apgd-dlr ");
}

TEST_CASE("autoattack: too few classes and options out of range are refused by name") {
  const Model model = linear_model({1, 0, 0, 1}, {0, 0});
  const AttackInput input{Tensor::full({1, 1, 1, 2}, 0.5, DType::float64), classes({0}), {}, {}};
  CHECK(error_of([&] { AutoAttack({}).run(model, input); }) ==
        "autoattack: apgd-t needs 4 classes, the model has 2");
  CHECK(error_of([&] { AutoAttack({.version = AutoAttack::Version::rand}).run(model, input); }) ==
        "autoattack: apgd-dlr needs 3 classes, the model has 2");
  CHECK(error_of([] { AutoAttack({.eps = 0}); }).find("autoattack: eps = 0") == 0);
  CHECK(error_of([] { AutoAttack({.iters = 0}); }).find("autoattack: iters = 0") == 0);
  CHECK(error_of([] { AutoAttack({.queries = 0}); }).find("autoattack: queries = 0") == 0);
}
