// A small network with everything that branches, for the tests of what walks through networks.
#pragma once

#include "nn/model.h"

namespace hashgrad::testing {

/// A projection that is added, a value that is added to itself behind two layers, and a concatenation with a
/// 1x3 window, batch norm in between; some layers have names. Weights are enlarged so that predictions vary.
inline Model branching_net(DType dtype = DType::float32, const std::string& rate = "") {
  Model model(
      "1x6x6 conv4k3p1nb:stem bn:stem_bn relu =a conv4k3p1:block.conv1 relu conv6k3p1s2nb bn =b "
      "<a conv6k1s2nb:block.project +b relu =c conv3k1x3p0x1 relu =d <c maxpool3s1p1 =e cat(c,d,e) =f "
      "relu +f flatten fc17" +
          rate + ":fc.0 relu fc5:fc.2",
      {.dtype = dtype, .seed = 7});
  for (auto& [name, tensor] : model.state())
    if (name.ends_with(".weight"))
      for_float_type(dtype, "test", [&, t = tensor]<class T>() mutable {
        for (int64_t i = 0; i < t.numel(); ++i) t.template data<T>()[i] *= T{2};
      });
  return model;
}

}  // namespace hashgrad::testing
