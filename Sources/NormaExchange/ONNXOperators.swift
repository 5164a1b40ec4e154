import NormaFormats
import NormaNormalization
import NormaTensor

extension ONNXTranslator {
  /// Adds what an operator of libtorch is in ONNX, and returns the names of its results.
  typealias Translation = @Sendable (ONNXTranslator, ONNXCall) throws -> [String]

  /// By libtorch's name, without the underscore of those that work in place.
  static let translations: [String: Translation] = arithmetic.merging(reductions) { $1 }
    .merging(layers) { $1 }.merging(shapes) { $1 }
    .merging([
      TracedNormalization.name: { [try $0.normalization($1)] }, TracedMoments.name: { try $0.pooledMoments($1) },
    ]) { $1 }

  // MARK: Element by element

  private static let arithmetic: [String: Translation] = [
    "aten::add": { [$0.emit("Add", try $0.summands($1))] },
    "aten::sub": { [$0.emit("Sub", try $0.summands($1))] },
    "aten::rsub": { [$0.emit("Sub", try $0.summands($1).reversed())] },
    "aten::mul": binary("Mul"), "aten::div": binary("Div"), "aten::pow": binary("Pow"),
    "aten::maximum": binary("Max"), "aten::minimum": binary("Min"),
    "aten::lt": binary("Less", compares: true), "aten::gt": binary("Greater", compares: true),
    "aten::le": binary("LessOrEqual", compares: true), "aten::ge": binary("GreaterOrEqual", compares: true),
    "aten::eq": binary("Equal", compares: true),
    "aten::ne": { t, c in [t.emit("Not", try binary("Equal", compares: true)(t, c))] },
    "aten::where": { t, c in
      [t.emit("Where", [try c.value(0), try c.value(1, as: c.result.dtype), try c.value(2, as: c.result.dtype)])]
    },
    "aten::neg": unary("Neg"), "aten::reciprocal": unary("Reciprocal"), "aten::abs": unary("Abs"),
    "aten::exp": unary("Exp"), "aten::log": unary("Log"), "aten::sqrt": unary("Sqrt"), "aten::relu": unary("Relu"),
    "aten::sigmoid": unary("Sigmoid"), "aten::tanh": unary("Tanh"), "aten::gelu": unary("Gelu"),
    "aten::softplus": unary("Softplus"),
    "aten::rsqrt": { t, c in [t.emit("Reciprocal", [t.emit("Sqrt", [try c.value(0)])])] },
    "aten::silu": { t, c in [t.emit("Mul", [try c.value(0), t.emit("Sigmoid", [try c.value(0)])])] },
    "aten::leaky_relu": { t, c in
      [t.emit("LeakyRelu", [try c.value(0)], [("alpha", .float(try c.number(1) ?? 0.01))])]
    },
    "aten::clamp": { t, c in
      let bounds = try (1...2).map { try c.number($0) == nil ? "" : c.value($0, as: c.result.dtype) }
      return [t.emit("Clip", [try c.value(0)] + bounds)]
    },
    "aten::softmax": along("Softmax"), "aten::log_softmax": along("LogSoftmax"),
    "aten::to": { t, c in [try t.value(of: c.tensor(0), as: c.result.dtype)] },
    "aten::clone": same, "aten::contiguous": same, "aten::detach": same,
    "aten::copy": { t, c in
      guard try c.tensor(0).shape == c.tensor(1).shape else {
        throw ONNXExportError("'aten::copy_' between the shapes \(try c.tensor(0).shape) and \(try c.tensor(1).shape)")
      }
      return [try c.value(1, as: c.result.dtype)]
    },
  ]

  private static let same: Translation = { [try $1.value(0)] }

  private static func unary(_ type: String) -> Translation { { [$0.emit(type, [try $1.value(0)])] } }

  private static func binary(_ type: String, compares: Bool = false) -> Translation {
    { t, c in
      let dtype = compares ? try c.tensor(0).dtype : c.result.dtype
      return [t.emit(type, [try c.value(0, as: dtype), try c.value(1, as: dtype)])]
    }
  }

  private static func along(_ type: String) -> Translation {
    { [$0.emit(type, [try $1.value(0)], [("axis", .int(try $1.int(1)))])] }
  }

  /// The operands of a sum, the second of which may have a factor.
  private func summands(_ call: ONNXCall) throws -> [String] {
    let dtype = call.result.dtype
    var operands = try [call.value(0, as: dtype), call.value(1, as: dtype)]
    if let factor = try call.number(2), factor != 1 {
      operands[1] = emit("Mul", [operands[1], try scalar(factor, dtype)])
    }
    return operands
  }

  // MARK: Over dimensions

  private static let reductions: [String: Translation] = [
    "aten::sum": reduction("ReduceSum"), "aten::mean": reduction("ReduceMean"), "aten::amax": reduction("ReduceMax"),
    "aten::amin": reduction("ReduceMin"), "aten::logsumexp": reduction("ReduceLogSumExp"),
    "aten::var": { t, c in
      guard try c.number(2) == 0 else { throw ONNXExportError("'aten::var' with a correction") }
      let x = try c.value(0, as: c.result.dtype)
      let axes = try c.ints(orNone: 1).map { [try t.ints($0)] } ?? []
      let deviation = t.emit("Sub", [x, t.emit("ReduceMean", [x] + axes)])
      return [
        t.emit("ReduceMean", [t.emit("Mul", [deviation, deviation])] + axes, [("keepdims", .int(c.bool(3) ? 1 : 0))])
      ]
    },
    "aten::argmax": { t, c in
      [t.emit("ArgMax", [try c.value(0)], [("axis", .int(try c.int(1))), ("keepdims", .int(c.bool(2) ? 1 : 0))])]
    },
  ]

  private static func reduction(_ type: String) -> Translation {
    { t, c in
      let axes = try c.ints(orNone: 1).flatMap { $0.isEmpty ? nil : try t.ints($0) }
      return [
        t.emit(
          type, [try c.value(0, as: c.result.dtype)] + (axes.map { [$0] } ?? []),
          [("keepdims", .int(c.bool(2) ? 1 : 0))])
      ]
    }
  }

  // MARK: Layers

  private static let layers: [String: Translation] = [
    "aten::convolution": { t, c in
      var attributes: [(String, ONNX.Attribute)] = [
        ("strides", .ints(try c.ints(3))), ("pads", .ints(try c.ints(4) + c.ints(4))),
        ("dilations", .ints(try c.ints(5))), ("group", .int(try c.int(8))),
        ("kernel_shape", .ints(Array(try c.tensor(1).shape.dropFirst(2)))),
      ]
      if c.bool(6) { attributes.append(("output_padding", .ints(try c.ints(7)))) }
      return [t.emit(c.bool(6) ? "ConvTranspose" : "Conv", try c.operands(3), attributes)]
    },
    "aten::linear": { t, c in
      let operands = try c.operands(3)
      if try c.tensor(0).rank == 2 { return [t.emit("Gemm", operands, [("transB", .int(1))])] }
      let product = t.emit("MatMul", [operands[0], t.emit("Transpose", [operands[1]])])
      return [operands.count > 2 ? t.emit("Add", [product, operands[2]]) : product]
    },
    "aten::matmul": { t, c in [t.emit("MatMul", [try c.value(0), try c.value(1)])] },
    "aten::embedding": { t, c in [t.emit("Gather", [try c.value(0), try c.value(1)])] },
    "aten::max_pool1d": pooling("MaxPool"), "aten::max_pool2d": pooling("MaxPool"),
    "aten::max_pool3d": pooling("MaxPool"), "aten::avg_pool1d": pooling("AveragePool"),
    "aten::avg_pool2d": pooling("AveragePool"), "aten::avg_pool3d": pooling("AveragePool"),
    "aten::adaptive_avg_pool1d": adaptive, "aten::adaptive_avg_pool2d": adaptive, "aten::adaptive_avg_pool3d": adaptive,
    "aten::upsample_nearest1d": resize(nearest), "aten::upsample_nearest2d": resize(nearest),
    "aten::upsample_nearest3d": resize(nearest), "aten::upsample_linear1d": resize(linear),
    "aten::upsample_bilinear2d": resize(linear), "aten::upsample_trilinear3d": resize(linear),
    "aten::layer_norm": { t, c in
      let (shape, dtype) = (try c.ints(1), c.result.dtype)
      let count = shape.reduce(1, *)
      func whole(_ number: Double) throws -> String {
        t.emit("Reshape", [try t.vector(number, count, dtype), try t.ints(shape)])
      }
      return [
        t.emit(
          "LayerNormalization",
          [
            try c.value(0), c.isTensor(2) ? try c.value(2) : try whole(1),
            c.isTensor(3) ? try c.value(3) : try whole(0),
          ], [("axis", .int(-shape.count)), ("epsilon", .float(try c.number(4) ?? 1e-5))])
      ]
    },
    "aten::rms_norm": { t, c in
      let (shape, dtype) = (try c.ints(1), c.result.dtype)
      let x = try c.value(0)
      let squares = t.emit("ReduceMean", [t.emit("Mul", [x, x]), try t.ints(shape.indices.map { $0 - shape.count })])
      let epsilon = try c.number(3) ?? (dtype == .float64 ? Double.ulpOfOne : Double(Float.ulpOfOne))
      let y = t.emit("Div", [x, t.emit("Sqrt", [t.emit("Add", [squares, try t.scalar(epsilon, dtype)])])])
      return [c.isTensor(2) ? t.emit("Mul", [y, try c.value(2)]) : y]
    },
  ]

  private static func pooling(_ type: String) -> Translation {
    { t, c in
      var attributes: [(String, ONNX.Attribute)] = [
        ("kernel_shape", .ints(try c.ints(1))), ("strides", .ints(try c.ints(2))),
        ("pads", .ints(try c.ints(3) + c.ints(3))),
      ]
      if type == "AveragePool" { attributes.append(("count_include_pad", .int(1))) }
      return [t.emit(type, [try c.value(0)], attributes)]
    }
  }

  private static let adaptive: Translation = { t, c in
    let extents = try c.ints(1)
    if extents.allSatisfy({ $0 == 1 }) { return [t.emit("GlobalAveragePool", [try c.value(0)])] }
    let (a, b) = try c.tensors(0)
    let given = Array(a.shape.suffix(extents.count))
    // Windows of one size, as long as the input has this one.
    guard given == b.shape.suffix(extents.count), zip(given, extents).allSatisfy({ $0 % $1 == 0 }) else {
      throw ONNXExportError(
        "'\(c.first.name)' of \(given) positions to \(extents), which ONNX has no operator for unless both are fixed and windows "
          + "of one size")
    }
    let kernel = zip(given, extents).map { $0 / $1 }
    return [
      t.emit("AveragePool", [try c.value(0)], [("kernel_shape", .ints(kernel)), ("strides", .ints(kernel))])
    ]
  }

  private static let nearest: [(String, ONNX.Attribute)] = [
    ("mode", .string("nearest")), ("coordinate_transformation_mode", .string("asymmetric")),
    ("nearest_mode", .string("floor")),
  ]
  private static let linear: [(String, ONNX.Attribute)] = [
    ("mode", .string("linear")), ("coordinate_transformation_mode", .string("half_pixel")),
  ]

  private static func resize(_ attributes: [(String, ONNX.Attribute)]) -> Translation {
    { t, c in
      guard !c.bool(2) else { throw ONNXExportError("'\(c.first.name)' with aligned corners") }
      let (x, y) = (try c.tensors(0), c.results)
      let axes = Array(2..<x.0.rank)
      func ratios(_ from: Tensor, _ to: Tensor) -> [Double] {
        axes.map { Double(to.shape[$0]) / Double(from.shape[$0]) }
      }
      let all = attributes + [("axes", .ints(axes))]
      if ratios(x.0, y.0) == ratios(x.1, y.1) {
        return [t.emit("Resize", [try c.value(0), "", try t.floats(ratios(x.0, y.0))], all)]
      }
      return [t.emit("Resize", [try c.value(0), "", "", try t.shape(c.extents(1))], all)]
    }
  }

  // MARK: Shapes

  private static let shapes: [String: Translation] = [
    "aten::reshape": reshaping, "aten::_unsafe_view": reshaping, "aten::flatten": reshaping,
    "aten::unsqueeze": { t, c in [t.emit("Unsqueeze", [try c.value(0), try t.ints([c.int(1)])])] },
    "aten::squeeze": { t, c in
      // libtorch leaves an extent above 1 as it is.
      try c.tensor(0).rank == c.result.rank
        ? same(t, c) : [t.emit("Squeeze", [try c.value(0), try t.ints([c.int(1)])])]
    },
    "aten::transpose": { t, c in
      var order = Array(0..<c.result.rank)
      let places = try [c.int(1), c.int(2)].map { $0 < 0 ? $0 + order.count : $0 }
      order.swapAt(places[0], places[1])
      return [t.emit("Transpose", [try c.value(0)], [("perm", .ints(order))])]
    },
    "aten::permute": { t, c in
      let rank = c.result.rank
      return [
        t.emit("Transpose", [try c.value(0)], [("perm", .ints(try c.ints(1).map { $0 < 0 ? $0 + rank : $0 }))])
      ]
    },
    "aten::expand": { t, c in [try t.expand(c.value(0), c.tensors(0), to: c.results)] },
    "aten::cat": { t, c in
      [t.emit("Concat", try c.list(0).map { try t.value(of: $0, as: c.result.dtype) }, [("axis", .int(try c.int(1)))])]
    },
    "aten::stack": { t, c in
      let axis = try t.ints([c.int(1)])
      let parts = try c.list(0).map { t.emit("Unsqueeze", [try t.value(of: $0, as: c.result.dtype), axis]) }
      return [t.emit("Concat", parts, [("axis", .int(try c.int(1)))])]
    },
    "aten::split_with_sizes": { t, c in
      t.emit(
        "Split", [try c.value(0), try t.shape(c.extents(1))], [("axis", .int(try c.int(2)))],
        results: c.first.results.count)
    },
    "aten::constant_pad_nd": { t, c in
      [t.emit("Pad", [try c.value(0), try t.ints(c.pads()), try t.scalar(c.number(2) ?? 0, c.result.dtype)])]
    },
    "aten::reflection_pad2d": { t, c in
      [t.emit("Pad", [try c.value(0), try t.ints(c.pads())], [("mode", .string("reflect"))])]
    },
    "aten::slice": { t, c in
      let axis = try c.int(1)
      // Counted from the end where that is the same for inputs of every size.
      let distance = try c.distance(3, toExtent: axis, of: c.tensors(0)).flatMap { $0 < 0 ? nil : $0 }
      let ends = try distance.map { try t.ints([$0 == 0 ? Int.max : -$0]) } ?? t.shape(c.extents(3))
      return [
        t.emit(
          "Slice", [try c.value(0), try t.shape(c.extents(2)), ends, try t.ints([axis]), try t.ints([c.int(4)])])
      ]
    },
    "aten::flip": { t, c in
      let axes = try c.ints(1)
      func each(_ number: Int) throws -> String { try t.ints(axes.map { _ in number }) }
      return [t.emit("Slice", [try c.value(0), try each(-1), try each(.min), try t.ints(axes), try each(-1)])]
    },
    "aten::select": { t, c in
      let index = t.emit("Squeeze", [try t.shape(c.extents(2))])
      return [t.emit("Gather", [try c.value(0), index], [("axis", .int(try c.int(1)))])]
    },
    "aten::index_select": { t, c in
      [t.emit("Gather", [try c.value(0), try c.value(2)], [("axis", .int(try c.int(1)))])]
    },
    "aten::gather": { t, c in
      [t.emit("GatherElements", [try c.value(0), try c.value(2)], [("axis", .int(try c.int(1)))])]
    },
  ]

  private static let reshaping: Translation = { t, c in
    [try t.reshape(c.value(0), of: c.tensors(0), to: c.results)]
  }
}

extension ONNXCall {
  /// The first arguments, of which trailing ones may be none.
  fileprivate func operands(_ count: Int) throws -> [String] {
    try (0..<count).filter(isTensor).map { try value($0) }
  }

  /// libtorch counts from the last dimension, before and after each; ONNX has all befores, then all afters.
  fileprivate func pads() throws -> [Int] {
    let amounts = try ints(1)
    var pads = [Int](repeating: 0, count: 2 * result.rank)
    for place in 0..<amounts.count / 2 {
      let axis = result.rank - 1 - place
      pads[axis] = amounts[2 * place]
      pads[result.rank + axis] = amounts[2 * place + 1]
    }
    return pads
  }
}
