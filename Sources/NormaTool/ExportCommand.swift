import ArgumentParser
import NormaExchange
import NormaFormats
import NormaModels
import NormaNN
import NormaReport
import NormaTensor

struct ExportCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "export",
    abstract: "Write a trained network for other programs: as ONNX.",
    discussion: """
      The file holds the network in evaluation mode in operator set 21. Its input is 'input' [batch, channels, height, width], \
      for volumes [batch, channels, depth, height, width], in float32, of any batch size and, for the U-Net and style transfer, of \
      any extents that the network takes; its output is 'logits', where there are no classes 'output'. Images have to be scaled as in training; what the weights' metadata tell about that, the file's \
      tell too. Weights keep the names of the safetensors file, which PyTorch takes as it is.
      """)

  @OptionGroup var model: ModelOptions

  @Option(help: ArgumentHelp("The file to write.", valueName: "path"), completion: .file())
  var onnx: String

  @Flag(
    help: """
      Output probabilities in the place of logits, under the name 'probabilities': the sigmoid of a single channel, else the \
      softmax over the channels.
      """)
  var probabilities = false

  @Option(
    help: ArgumentHelp(
      "Which of the styles that a style network was trained for, from 1. (default: 1)", valueName: "number"))
  var style: Int?

  func run() throws {
    try Runtime.check()
    let loaded = try model.load()
    try ToolError.check(output: onnx, isNone: [loaded.path])
    let options = loaded.options
    let unet = options as? UNet.Options
    if probabilities, unet == nil, !(options is any ClassifierConfiguration) {
      throw ToolError("the network's outputs are no classes; leave out --probabilities")
    }
    let network = loaded.network as? TransformationNetwork
    let (styles, number) = (network?.options.styles ?? 1, style ?? 1)
    guard network != nil || style == nil, (1...styles).contains(number) else {
      throw ToolError(
        network == nil
          ? "--style is for style transfer; leave it out"
          : "--style must be in 1…\(styles), the styles of '\(loaded.path)', got \(number)")
    }
    let axes = ["channels"] + ["depth", "height", "width"].suffix(options.inputExtents.count - 1)
    let output =
      probabilities ? "probabilities" : unet != nil || options is any ClassifierConfiguration ? "logits" : "output"
    let graph = try loaded.network.onnx(
      input: [.any("batch")]
        + zip(axes, options.inputExtents).map { name, extent in
          switch extent {
          case .fixed(let extent): .fixed(extent)
          case .any(let multiple, let shift): .any(name, multipleOf: multiple, plus: shift)
          }
        }, output: output, name: type(of: options).architecture,
      metadata: loaded.metadata.merging(options.metadata) { $1 }
    ) {
      if let network, styles > 1 { return try network($0, styles: Array(repeating: number - 1, count: $0.shape[0])) }
      let logits = try loaded.network($0)
      guard probabilities else { return logits }
      return try unet?.outputChannels == 1 ? logits.sigmoid() : logits.softmax(1)
    }
    let extents = zip(axes, options.inputExtents).map { name, extent in
      if case .fixed(let extent) = extent { "\(extent)" } else { name }
    }
    let bytes = try graph.write(to: onnx)
    print(
      """
      Wrote \(onnx): ONNX of operator set \(ONNX.operatorSet), \(grouped(bytes)) bytes, \(graph.nodes.count) operators, \
      \(options.normalization.name) normalization.
      input  [batch, \(extents.joined(separator: ", "))]\(unet.map { ", extents \($0.extentsInWords)" } ?? (network == nil ? "" : ", extents divisible by 4"))
      \(output)  [batch, \(unet.map { ([$0.outputChannels.description] + extents.dropFirst()).joined(separator: ", ") } ?? "…")]\
      \(unet.flatMap { $0.margin > 0 ? ", \(2 * $0.margin) less than the input's" : nil } ?? "")
      """)
  }
}
