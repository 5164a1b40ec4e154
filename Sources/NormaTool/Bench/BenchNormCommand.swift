import ArgumentParser
import NormaNN
import NormaNormalization
import NormaRecords
import NormaReport
import NormaTensor

/// Times one normalization layer with the activation that follows, forward and backward.
struct BenchNormCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "norm", abstract: "Time one normalization layer and ReLU, forward and backward.",
    discussion: """
      GB/s count eight passes over the input's bytes, three forward and five backward, whatever a norm really does. \
      The copy rate is that of a copy between two tensors of the input's size, read and written bytes counted; \
      × copy is the time divided by that of eight passes at the copy rate.
      """)

  enum FollowingActivation: String, ExpressibleByArgument, CaseIterable {
    case relu, none
    var activation: Activation { self == .relu ? .relu : .none }
  }

  @Option(
    help: NormHelp.list(default: "batch,group,layer,instance,switchable"),
    transform: CompareCommand.parseNorms)
  var norms: [Normalization] = [.batch, .group(groups: nil), .layer, .instance, .switchable]

  @Option(
    help: ArgumentHelp(
      "Inputs as N x C x H x W. (default: 2x64x256x256,1x64x512x512,8x64x64x64,2x256x32x32)", valueName: "list"),
    transform: BenchShape.list)
  var shapes = try! BenchShape.list("2x64x256x256,1x64x512x512,8x64x64x64,2x256x32x32")

  @Option(
    help: ArgumentHelp("float32, bfloat16 or both. (default: float32,bfloat16)", valueName: "list"),
    transform: BenchOptions.list)
  var dtypes: [BenchType] = BenchType.allCases

  @Option(
    help: ArgumentHelp(
      "channels-first, channels-last or both. (default: channels-first,channels-last)", valueName: "list"),
    transform: BenchOptions.list)
  var layouts: [BenchLayout] = BenchLayout.allCases

  @Option(help: ArgumentHelp("What follows the norm: relu or none.", valueName: "name"))
  var activation = FollowingActivation.relu

  @Option(help: ArgumentHelp("Rounds of at least 10 ms, in which the norms take turns.", valueName: "count"))
  var rounds = 15

  @OptionGroup var bench: BenchOptions

  func validate() throws {
    guard !norms.contains(.none) else {
      throw ValidationError("none has no layer to time; leave it out of --norms.")
    }
    try BenchOptions.check("--rounds", rounds, atMost: 10_000)
  }

  /// One norm on one input.
  struct Case: Encodable {
    let norm: String
    let shape: [Int]
    let dtype: String
    let layout: String
    let activation: String
    /// Of the input.
    let bytes: Int
    let milliseconds: Spread
    /// Eight passes over `bytes` in the median time.
    let gigabytesPerSecond: Double
    /// Of a copy of as many bytes; read and written ones counted.
    let copyGigabytesPerSecond: Double
    /// The median time divided by that of eight passes at the copy rate.
    let copyRatio: Double
  }

  func run() throws {
    try bench.prepare()
    // Everything that can be wrong is found before anything is timed.
    for norm in norms { for shape in shapes { try norm.check(channels: shape.channels) } }
    var cases: [Case] = []
    for shape in shapes {
      for dtype in dtypes {
        for layout in layouts {
          let group = try measure(shape, dtype, layout)
          cases += group
          if !bench.json { print(table(group), terminator: "\n\n") }
        }
      }
    }
    if bench.json { print(try jsonText(of: BenchRecord(benchmark: "norm", options: options, cases: cases))) }
  }

  private func measure(_ shape: BenchShape, _ dtype: BenchType, _ layout: BenchLayout) throws -> [Case] {
    let generator = try Generator(seed: 0)
    func random() throws -> Tensor {
      try Tensor.normal(shape.extents, generator: generator).to(dtype: dtype.dtype).contiguous(layout.format)
    }
    let input = try random()
    let copied = try input.cloned()
    let cotangent = try random()
    try input.requiringGradient()
    var bodies: [() throws -> Void] = try norms.map { norm in
      let layer = try norm.layer(channels: shape.channels)!
      // Listed once: a walk through the module would be timed too.
      let leaves = [input] + layer.parameters.map(\.value)
      return {
        for leaf in leaves { try leaf.setGradient(nil) }
        try layer.forward(input, then: activation.activation).backward(cotangent)
      }
    }
    bodies.append { try copied.copy(from: input) }
    let spreads = try Turns(rounds: rounds, shortest: .milliseconds(10)).milliseconds(bodies)
    let bytes = shape.count * dtype.dtype.size
    func rate(passes: Double, _ milliseconds: Double) -> Double { passes * Double(bytes) / milliseconds / 1e6 }
    let copyRate = rate(passes: 2, spreads[norms.count].median)
    return norms.indices.map { index in
      let rate = rate(passes: 8, spreads[index].median)
      return Case(
        norm: norms[index].name, shape: shape.extents, dtype: dtype.rawValue, layout: layout.rawValue,
        activation: activation.rawValue, bytes: bytes, milliseconds: spreads[index], gigabytesPerSecond: rate,
        copyGigabytesPerSecond: copyRate, copyRatio: copyRate / rate)
    }
  }

  /// A table of the norms on one input.
  private func table(_ cases: [Case]) -> String {
    let first = cases[0]
    let rows = cases.map {
      [
        $0.norm, fixed($0.milliseconds.median, 3), fixed($0.milliseconds.lowerQuartile, 3),
        fixed($0.milliseconds.upperQuartile, 3), fixed($0.gigabytesPerSecond, 1), fixed($0.copyRatio, 2),
      ]
    }
    let shape = first.shape.map(String.init).joined(separator: "×")
    return """
      \(shape) \(first.dtype) \(first.layout), \(fixed(Double(first.bytes) / 1e6, 1)) MB; copy rate at this size \
      \(fixed(first.copyGigabytesPerSecond, 1)) GB/s
      \(textTable(header: ["norm", "ms", "lower quartile", "upper quartile", "GB/s", "× copy"], rows: rows))
      """
  }

  private var options: [String: String] {
    [
      "norms": norms.map(\.name).joined(separator: ","), "shapes": shapes.map(\.description).joined(separator: ","),
      "dtypes": dtypes.map(\.rawValue).joined(separator: ","),
      "layouts": layouts.map(\.rawValue).joined(separator: ","), "activation": activation.rawValue,
      "rounds": "\(rounds)", "threads": "\(Runtime.threads)",
    ]
  }
}
