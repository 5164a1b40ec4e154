import Foundation
import Testing

@testable import NormaTool

/// What the benchmarks print with --json, as far as all have it.
struct PrintedBenchmark: Decodable {
  struct Machine: Decodable {
    let processor, system, swift, libtorch, norma: String
    let cores, threads, memoryBytes: Int
  }
  struct Milliseconds: Decodable {
    let median, lowerQuartile, upperQuartile, minimum: Double
    let rounds: Int
  }
  struct Profile: Decodable {
    struct Kind: Decodable {
      let kind: String
      let calls: Int
      let seconds: Double
    }
    let kinds: [Kind]
  }
  struct Case: Decodable {
    let norm, dtype: String
    let profile: Profile?
    let milliseconds: Milliseconds
    let variant, layout, activation: String?
    let shape: [Int]?
    let bytes, peakTensorBytes, totalParameters, trainableParameters: Int?
    let gigabytesPerSecond, copyGigabytesPerSecond, copyRatio: Double?
  }
  let schemaVersion: Int
  let benchmark: String
  let machine: Machine
  let options: [String: String]
  let cases: [Case]
}

@Suite struct BenchTests {
  private func run(_ benchmark: String, _ arguments: [String]) throws -> PrintedBenchmark {
    let outcome = try Tool.run(["bench", benchmark, "--threads", "1", "--json"] + arguments)
    #expect(outcome.status == 0, "\(outcome.errors)")
    let printed = try JSONDecoder().decode(PrintedBenchmark.self, from: Data(outcome.output.utf8))
    #expect(printed.schemaVersion == 1)
    #expect(printed.benchmark == benchmark)
    #expect(printed.machine.threads == 1)
    #expect(printed.machine.cores > 0 && printed.machine.memoryBytes > 1 << 20)
    #expect(printed.options["threads"] == "1")
    for item in printed.cases {
      let times = item.milliseconds
      #expect(times.minimum > 0)
      #expect(times.minimum <= times.lowerQuartile && times.lowerQuartile <= times.median)
      #expect(times.median <= times.upperQuartile)
    }
    return printed
  }

  @Test func norms() throws {
    let printed = try run(
      "norm", ["--shapes", "2x8x6x5,1x4x3x3", "--rounds", "2", "--norms", "batch,group:2,switchable"])
    #expect(printed.cases.count == 2 * 2 * 2 * 3)
    #expect(printed.cases.prefix(3).map(\.norm) == ["batch", "group:2", "switchable"])
    #expect(printed.options["norms"] == "batch,group:2,switchable")
    for item in printed.cases {
      let elements = try #require(item.shape).reduce(1, *)
      let bytes = try #require(item.bytes)
      #expect(bytes == elements * (item.dtype == "float32" ? 4 : 2))
      #expect(item.activation == "relu")
      #expect(item.milliseconds.rounds == 2)
      let rate = try #require(item.gigabytesPerSecond)
      #expect(abs(rate * item.milliseconds.median * 1e6 / Double(8 * bytes) - 1) < 1e-9)
      // The time of eight passes at the copy rate.
      let copy = 8 * Double(bytes) / (try #require(item.copyGigabytesPerSecond)) / 1e6
      #expect(abs(try #require(item.copyRatio) * copy / item.milliseconds.median - 1) < 1e-9)
    }
    #expect(Set(printed.cases.compactMap(\.layout)) == ["channels-first", "channels-last"])
  }

  @Test func everyNormByDefault() throws {
    let printed = try run(
      "norm", ["--shapes", "2x4x4x4", "--rounds", "1", "--dtypes", "float32", "--layouts", "channels-last"])
    #expect(printed.cases.map(\.norm) == ["batch", "group", "layer", "instance", "switchable"])
    let step = try run("step", ["--width", "2", "--size", "32", "--steps", "1", "--dtypes", "float32"])
    #expect(step.cases.map(\.norm) == ["none", "batch", "group", "switchable", "instance", "layer"])
  }

  @Test func steps() throws {
    let printed = try run(
      "step",
      ["--norms", "none,batch", "--width", "2", "--size", "32", "--batch-size", "1", "--steps", "3", "--warm-up", "0"])
    #expect(
      printed.cases.map { "\($0.norm) \($0.dtype)" } == [
        "none float32", "batch float32", "none bfloat16", "batch bfloat16",
      ])
    #expect(printed.cases.allSatisfy { $0.milliseconds.rounds == 3 })
    for item in printed.cases {
      // At least the parameters, their gradients and Adam's two moments.
      #expect(try #require(item.peakTensorBytes) > 16 * (try #require(item.trainableParameters)))
      #expect(try #require(item.totalParameters) >= (try #require(item.trainableParameters)))
    }
  }

  @Test func lowMemoryTakesLess() throws {
    func peak(_ memory: String) throws -> Int {
      let printed = try run(
        "step",
        [
          "--norms", "switchable", "--width", "8", "--size", "128", "--steps", "1", "--dtypes", "float32", "--memory",
          memory,
        ])
      return try #require(printed.cases[0].peakTensorBytes)
    }
    #expect(Double(try peak("low")) < 0.8 * Double(try peak("standard")))
  }

  @Test func profiles() throws {
    let printed = try run(
      "step",
      ["--norms", "batch", "--width", "2", "--size", "32", "--steps", "1", "--dtypes", "float32", "--profile"])
    let kinds = try #require(printed.cases[0].profile).kinds
    #expect(Set(kinds.map(\.kind)).isSuperset(of: ["convolution forward", "convolution backward", "normalization"]))
    #expect(kinds.allSatisfy { $0.calls > 0 && $0.seconds >= 0 })
  }

  /// The other networks that live meanwhile do not count.
  @Test func thePeakIsOfOneNetwork() throws {
    let options = ["--width", "4", "--size", "32", "--steps", "2", "--dtypes", "float32"]
    let alone = try run("step", ["--norms", "group"] + options)
    let among = try run("step", ["--norms", "batch,none,group,switchable"] + options)
    #expect(among.cases[2].norm == "group")
    // A block's size is what the heap gave, which differs by bytes between runs.
    let ratio =
      Double(try #require(among.cases[2].peakTensorBytes)) / Double(try #require(alone.cases[0].peakTensorBytes))
    #expect(abs(ratio - 1) < 0.01)
  }

  @Test func inference() throws {
    let printed = try run(
      "inference", ["--norms", "batch,switchable", "--width", "2", "--size", "32", "--rounds", "2"])
    #expect(printed.cases.map(\.norm) == ["batch", "batch", "switchable"])
    #expect(printed.cases.map(\.variant) == ["plain", "folded", "plain"])
  }

  @Test func tables() throws {
    let norm = try Tool.run([
      "bench", "norm", "--shapes", "2x4x4x4", "--rounds", "1", "--dtypes", "bfloat16", "--layouts", "channels-first",
      "--activation", "none",
    ])
    #expect(norm.status == 0, "\(norm.errors)")
    #expect(norm.output.contains("2×4×4×4 bfloat16 channels-first"))
    #expect(norm.output.split(separator: "\n").contains { $0.hasPrefix("switchable") })
    let step = try Tool.run([
      "bench", "step", "--norms", "batch", "--width", "2", "--size", "16", "--steps", "1", "--dtypes", "float32",
    ])
    #expect(step.status == 0, "\(step.errors)")
    #expect(step.output.contains("peak tensors"))
    #expect(
      try Tool.run(["bench", "inference", "--width", "2", "--size", "16", "--rounds", "1"]).output.contains("plain"))
  }

  @Test(arguments: [
    (["norm", "--norms", "bach"], ["bach", "switchable"]),
    (["norm", "--norms", "none"], ["none has no layer"]),
    (["norm", "--norms", "batch,batch"], ["twice"]),
    (["norm", "--norms", "group:3"], ["3 groups", "64 channels"]),
    (["norm", "--shapes", "2x64x64"], ["2x64x64", "N, C, H and W"]),
    (["norm", "--shapes", "2x0x64x64"], ["2x0x64x64", "above 0"]),
    (["norm", "--shapes", "9x9x9x9,9x9x9x9"], ["twice"]),
    (["norm", "--shapes", "9999999999x9999999999x9999999999x9"], ["2³⁰"]),
    (["norm", "--dtypes", "float16"], ["float16", "bfloat16"]),
    (["norm", "--layouts", "channels"], ["channels-first"]),
    (["norm", "--activation", "gelu"], ["gelu"]),
    (["norm", "--rounds", "0"], ["--rounds", "10000"]),
    (["norm", "--threads", "0"], ["--threads"]),
    (["norm", "--norms", "instance", "--shapes", "2x4x1x1"], ["[2, 4, 1, 1]"]),
    (["step", "--steps", "0"], ["--steps"]),
    (["step", "--warm-up", "-1"], ["--warm-up"]),
    (["step", "--size", "40"], ["multiple of 16", "40"]),
    (["step", "--size", "0"], ["multiple of 16"]),
    (["step", "--width", "99999999999"], ["--width", "1024"]),
    (["step", "--batch-size", "65536", "--size", "65536"], ["2³⁰"]),
    (["step", "--norms", "group:3", "--width", "4"], ["3 groups", "4 channels"]),
    (["inference", "--dtypes", ""], ["float32"]),
    (["inference", "--rounds", "1.5"], ["1.5"]),
  ])
  func badInputIsNamedOnce(_ arguments: [String], _ says: [String]) throws {
    let outcome = try Tool.run(["bench"] + arguments)
    #expect(outcome.status != 0)
    #expect(outcome.output.isEmpty)
    for text in says { #expect(outcome.errors.contains(text), "\(outcome.errors)") }
    #expect(outcome.errors.split(separator: "\n").filter { $0.hasPrefix("Error:") }.count == 1, "\(outcome.errors)")
    #expect(!outcome.errors.contains("Fatal"), "\(outcome.errors)")
  }
}

@Suite struct SpreadTests {
  @Test func quartiles() {
    let odd = Spread([5, 1, 4, 2, 3])
    #expect([odd.minimum, odd.lowerQuartile, odd.median, odd.upperQuartile] == [1, 2, 3, 4])
    #expect(odd.rounds == 5)
    let even = Spread([4, 1, 2, 3])
    #expect([even.lowerQuartile, even.median, even.upperQuartile] == [1.75, 2.5, 3.25])
    let one = Spread([7])
    #expect([one.minimum, one.lowerQuartile, one.median, one.upperQuartile] == [7, 7, 7, 7])
  }

  @Test func bodiesTakeTurns() throws {
    var order: [Int] = []
    let spreads = try Turns(rounds: 3, warmUp: 1).milliseconds([{ order.append(0) }, { order.append(1) }])
    #expect(order == [0, 1, 0, 1, 0, 1, 0, 1])
    #expect(spreads.map(\.rounds) == [3, 3])
  }

  @Test func shortBodiesAreRepeated() throws {
    var calls = 0
    _ = try Turns(rounds: 1, warmUp: 0, shortest: .milliseconds(1)).milliseconds([{ calls += 1 }])
    #expect(calls > 100)
  }
}

@Suite struct OperationKindTests {
  @Test(arguments: [
    ("aten::mkldnn_convolution", OperationKind.convolutionForward),
    ("aten::convolution_backward", .convolutionBackward),
    ("autograd::engine::evaluate_function: ConvolutionBackward0", .convolutionBackward),
    ("ConvolutionBackward0", .convolutionBackward), ("normalization", .normalization),
    ("autograd::engine::evaluate_function: normalization", .normalization), ("norma::moments", .normalization),
    ("aten::native_batch_norm_backward", .normalization), ("aten::relu_", .activation),
    ("aten::threshold_backward", .activation), ("ReluBackward0", .activation),
    ("aten::max_pool2d_with_indices", .pooling), ("MaxPool2DWithIndicesBackward0", .pooling),
    ("aten::upsample_nearest2d", .upsampling), ("UpsampleNearest2DBackward0", .upsampling),
    ("aten::cat", .concatenation), ("CatBackward0", .concatenation), ("aten::constant_pad_nd", .padding),
    ("aten::binary_cross_entropy_with_logits", .loss), ("aten::_fused_adam_", .optimizer), ("aten::copy_", .copies),
    ("aten::_to_copy", .copies), ("ToCopyBackward0", .copies), ("aten::add_", .other), ("", .other), ("::", .other),
  ])
  func known(_ name: String, _ kind: OperationKind) { #expect(OperationKind(operation: name) == kind) }

  @Test func rowsAddUpAndAreSorted() {
    let rows = OperationRow.rows([
      ("aten::add", 3, 0.5), ("aten::mkldnn_convolution", 2, 1), ("aten::convolution", 2, 0.25), ("aten::cat", 1, 0.5),
    ])
    #expect(
      rows == [
        OperationRow(kind: .convolutionForward, calls: 4, seconds: 1.25),
        OperationRow(kind: .concatenation, calls: 1, seconds: 0.5), OperationRow(kind: .other, calls: 3, seconds: 0.5),
      ])
    #expect(OperationRow.rows([]).isEmpty)
  }
}
