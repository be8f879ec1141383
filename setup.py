"""Executables and dependencies; CMakeLists.txt reads console_scripts from here."""

from glob import glob

from setuptools import find_packages, setup

package_name = 'page4d_ros'

setup(
    name=package_name,
    version='0.1.0',
    packages=find_packages(include=[package_name, package_name + '.*']),
    package_data={
        package_name: [
            'data/**/*',
            *(f'evaluation/report/*.{e}' for e in ('html', 'css', 'js')),
            'evaluation/plans/*.json',
            'fleet/*.html',
        ]
    },
    data_files=[
        ('share/ament_index/resource_index/packages', ['resource/' + package_name]),
        ('share/' + package_name, ['package.xml']),
        ('share/' + package_name + '/launch', glob('launch/*.launch.py')),
        ('share/' + package_name + '/config', glob('config/*.*')),
        ('share/' + package_name + '/config/training', glob('config/training/*.yaml')),
        ('share/' + package_name + '/config/security', glob('config/security/*.xml')),
        ('share/' + package_name + '/msg', glob('msg/*.msg')),
        ('share/' + package_name + '/srv', glob('srv/*.srv')),
    ],
    python_requires='>=3.10',
    install_requires=[
        'lz4',
        'numpy>=1.21',
        'opencv-python-headless<5',
        'pillow',
        'rich',
        'rosbags>=0.11,<0.12',
        'ruamel.yaml',
        'safetensors',
        'scipy>=1.8',
        'torch>=2.3',
        'typer',
    ],
    extras_require={
        # 180 MB, most of it OpenVINO; quicker than torch on x86-64 CPUs
        'graphs': ['onnx', 'onnxscript', 'openvino'],
        'scenes': ['mujoco>=3.3.3'],
        'vggt4d': ['scikit-image', 'scikit-learn'],
        'train': ['mujoco>=3.3.3', 'tensorboard'],
        # evo is GPL-3; nothing else needs it
        'report': ['evo', 'jinja2', 'matplotlib', 'plotly>=6'],
        # 225 MB with pyarrow, so that not even the tests ask for it
        'rrd': ['rerun-sdk>=0.39'],
        # page4d annotate; 410 MB, most of it Ray and pyarrow
        'fleet': ['fsspec', 'jinja2', 'pyarrow>=15', 'ray[default]>=2.30'],
        'test': [
            'hypothesis',
            'jsonschema',
            'pytest',
            'pytest-timeout',
            'pytest-xdist',
            'ruff',
            'scikit-image',
            'scikit-learn',
        ],
    },
    zip_safe=False,
    license='Apache-2.0',
    description='PAGE-4D as a ROS 2 node: camera pose, depth and motion mask from one camera.',
    entry_points={
        'console_scripts': [
            'page4d = page4d_ros.cli:main',
            'page4d_node = page4d_ros.ros.main:main',
        ],
    },
)
